"""The sweep spec: what is asked of a sweep, with everything that is not said filled in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from lit_dl.config.keys import Config, dump_yaml, flatten, get_key
from lit_dl.config.overlay import merge, overlay
from lit_dl.errors import ConfigError
from sweeps.spec.objective import Objective
from sweeps.spec.published import PublishedClaim, PublishedTable, Quantity
from sweeps.spec.space import Space, Values

CHECKS = ("parse", "build", "step")
EVALUATIONS = ("best", "all", "none")
FIXED = ("name", "objectives", "space", "runs", "seeds", "base")
"""What a sweep must keep when it is continued. Everything else may change between two launches."""


@dataclass(frozen=True)
class Plugin:
    """A sampler or pruner by name, with its arguments."""

    class_path: str
    init_args: Values = field(default_factory=dict)


@dataclass(frozen=True)
class SlotSize:
    """What one trial gets to run on.

    Args:
        gpus: GPUs: a whole number, on which a trial trains together, or a share such as 0.25. `None`: one where there
            are any.
        cpus: CPU cores. `None`: the machine's, divided by its slots.
    """

    gpus: float | None = None
    cpus: int | None = None

    @property
    def devices(self) -> int | None:
        """Devices on which a trial trains together, where that is said."""
        return int(self.gpus) if self.gpus is not None and self.gpus >= 1 else None


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, with everything that is not said filled in.

    Args:
        name: Name of the study; of the run folder too, unless that is given.
        base: The run config that every trial starts from, in normal form.
        objectives: What is optimized; the first is what checkpoints and early stopping watch.
        n_trials: Runs in total, over all interruptions.
        space: What is sampled.
        runs: Named configurations to run before sampling, each as dotted keys and values.
        seeds: How often each configuration is repeated, with seeds counted up from the base's.
        sampler: Which Optuna sampler.
        pruner: Which Optuna pruner; `None`: nothing is pruned.
        evaluate_test: Whose metrics on the test set are taken: the best trial's, all, or none.
        check: How far trials are checked before the first: parse, build, or step.
        workers: Processes; `None`: one a GPU or one a CPU core.
        timeout: Seconds after which no trial goes on; `None`: no limit.
        max_failures: Failed trials in a row that end the sweep.
        slot: What one trial gets to run on.
        trial_timeout_s: Seconds, over all attempts, after which a trial ends; `None`: no limit.
        keep: Whose checkpoints stay: `all`, `none`, or those of the best so many configurations, as `best_5`.
        retry_out_of_memory: Whether a trial that runs out of memory goes on with half the batch, accumulated to the
            same effective one.
        tracking: Laid on `tracking` of the base.
        published: Published figures of `runs`, which reports set beside ours.
        claims: What is claimed of `runs`, which reports judge.
    """

    name: str
    base: Config
    objectives: list[Objective]
    n_trials: int
    space: Space
    runs: dict[str, Values] = field(default_factory=dict)
    seeds: int = 1
    sampler: Plugin = Plugin("TPESampler")
    pruner: Plugin | None = None
    evaluate_test: str = "best"
    check: str = "step"
    workers: int | None = None
    timeout: float | None = None
    max_failures: int = 5
    slot: SlotSize = SlotSize()
    trial_timeout_s: float | None = None
    keep: str = "all"
    retry_out_of_memory: bool = False
    tracking: Values = field(default_factory=dict)
    published: list[PublishedTable] = field(default_factory=list)
    claims: list[PublishedClaim] = field(default_factory=list)

    @property
    def max_epochs(self) -> int:
        """Epochs a trial may last, as far as the base says: what Hyperband divides by."""
        return int((self.base.get("trainer") or {}).get("max_epochs") or 20)

    def configuration(self, values: Values, run: str | None, seed_number: int) -> Config:
        """The run config of a trial, before defaults are filled in.

        Args:
            values: Sampled values by name of the parameter.
            run: Name of a configuration of `runs`.
            seed_number: From 0; counted up from the base's seed.
        """
        keys = {**self.space.keys(values), **(self._run_keys(run) if run else {})}
        config = merge(overlay(self.base, keys), {"tracking": self.tracking} if self.tracking else {})
        if self.slot.devices is not None or get_key(config, "trainer.devices") == "auto":
            config = merge(config, {"trainer": {"devices": self.slot.devices or 1}})
        config["seed_everything"] = self.seed(seed_number, config)
        first = self.objectives[0]
        for group in ("early_stopping", "checkpoint"):
            values_of = dict(config.get(group) or {})
            if not values_of.get("monitor"):
                config[group] = {**values_of, "monitor": first.metric, "mode": first.mode}
        return config

    def seed(self, seed_number: int, config: Config | None = None) -> int:
        """The seed of a repeat: that of a run config (default: the base), plus the number of the repeat."""
        seed = (self.base if config is None else config).get("seed_everything", 0)
        return (0 if isinstance(seed, bool) else int(seed)) + seed_number

    def _run_keys(self, run: str) -> Values:
        keys: Values = {}
        for name, value in self.runs[run].items():
            parameter = self.space.parameters.get(name)
            keys.update(parameter.keys(parameter.stored(value)) if parameter else {name: value})
        return keys

    def quantities(self) -> list[tuple[str, Quantity, list[str]]]:
        """What published figures and claims are about: the key of each, its quantity, and the runs it names."""
        found = [(f"published[{i}]", table.quantity, [*table.values]) for i, table in enumerate(self.published)]
        return found + [(f"claims[{i}]", c.quantity, [*c.first, *c.second]) for i, c in enumerate(self.claims)]

    def dump(self) -> str:
        """Returns the resolved spec as YAML. It holds every field, and `load_spec` reads it back."""
        first: Config = {
            "name": self.name,
            "base": self.base,
            "objective": [{"metric": o.metric, "direction": o.direction} for o in self.objectives],
            "n_trials": self.n_trials,
            "space": self.space.dump(),
            "runs": self.runs,
            "seeds": self.seeds,
            "sampler": _plugin_values(self.sampler),
            "pruner": _plugin_values(self.pruner),
        }
        names = [f.name for f in fields(self) if f.name != "objectives" and f.name not in first]
        return dump_yaml({**first, **{name: _plain(getattr(self, name)) for name in names}})


def _plain(value: object) -> object:
    """A field as YAML holds it."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, PublishedTable | PublishedClaim):
        return value.dump()
    return asdict(value) if isinstance(value, SlotSize) else value


def processes_of(config: Config) -> int:
    """How many processes train together by a run config, one a device."""
    devices = get_key(config, "trainer.devices")
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 1


def _plugin_values(plugin: Plugin | None) -> Values | None:
    return None if plugin is None else {"class_path": plugin.class_path, "init_args": plugin.init_args}


def check_continues(old: SweepSpec, new: SweepSpec) -> None:
    """Refuses to continue a study as another one.

    Raises:
        ConfigError: The base, the space, the runs, the seeds or the objective differ.
    """
    for key in FIXED:
        before, after = (getattr(spec, key) for spec in (old, new))
        if key == "space":
            before, after = before.dump(), after.dump()
        if before != after:
            what = _difference(before, after) if isinstance(before, dict) else f"{after!r} is not {before!r}"
            raise ConfigError(
                key.rstrip("s") if key == "objectives" else key,
                f"must stay what this run folder began with ({what}); name another --run_dir, or set it back",
            )


def _difference(before: Values, after: Values) -> str:
    old, new = dict(flatten(before)), dict(flatten(after))
    key = next(k for k in {**old, **new} if old.get(k) != new.get(k) or (k in old) != (k in new))
    return f"{key}: {new.get(key)!r} is not {old.get(key)!r}"
