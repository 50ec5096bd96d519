"""The sweep spec, with all defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lit_dl.config.keys import Config, flatten, get_key
from lit_dl.config.overlay import merge, overlay
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.errors import ConfigError
from lit_dl.run.run_config import validations_of
from sweeps.spec.constraint import Constraint
from sweeps.spec.objective import Objective
from sweeps.spec.published import PublishedClaim, PublishedTable, Quantity
from sweeps.spec.space import Space, Values

CHECKS = ("parse", "build", "step")
EVALUATIONS = ("best", "all", "none")
DIVERGENCES = ("loss", "objective")
FIXED = ("name", "objectives", "constraints", "space", "runs", "seeds", "base")
"""Fields that make trials comparable. They must not change between launches of a study; all other fields may."""
_LATER_KEYS = {"check_finite": True}
"""Keys of `early_stopping` that folders of earlier versions do not have, with what went without saying."""


@dataclass(frozen=True)
class Plugin:
    """A sampler or pruner by name, with its arguments."""

    class_path: str
    init_args: Values = field(default_factory=dict)


@dataclass(frozen=True)
class SlotSize:
    """The resources of a slot, which runs one trial at a time.

    Args:
        gpus: A whole number of GPUs, on which a trial trains by DDP, or a share of a GPU such as 0.25. `None`: one GPU
            if the machine has any.
        cpus: CPU cores. `None`: the cores of the machine divided by its slots.
    """

    gpus: float | None = None
    cpus: int | None = None

    @property
    def devices(self) -> int | None:
        """Devices that a trial trains on, if `gpus` gives a whole number."""
        return int(self.gpus) if self.gpus is not None and self.gpus >= 1 else None


@dataclass(frozen=True)
class StopRule:
    """When a sweep stops before it has run all its trials. Any of the two is enough.

    Args:
        value: Value of the objective that is good enough.
        terminator: A terminator of Optuna, which estimates what is left to improve.
    """

    value: float | None = None
    terminator: Plugin | None = None


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep is asked to do.

    Args:
        name: Name of the study, and of the run folder by default.
        base: The run config that every trial starts from, in normal form.
        objectives: Metrics to optimize. Checkpoints and early stopping monitor the first.
        n_trials: Trials in total, over all launches.
        space: The search space.
        constraints: Bounds that the best configuration must meet, by the name of the metric or figure.
        runs: Named configurations to run before sampling, each as dotted keys and values.
        seeds: Repeats of each configuration, with seeds counted up from the seed of the base.
        sampler: A sampler of Optuna.
        pruner: A pruner of Optuna; `None`: no trial is pruned.
        warm_start: Run folders of older sweeps. The sampler also learns from their completed trials; nothing else
            counts them.
        stop: When the sweep stops by itself; `None`: after `n_trials`.
        evaluate_test: Trials that are evaluated on the test set: `best`, `all`, or `none`.
        divergence: When a value of the objective that is not finite makes a trial diverged: `objective`, at once;
            `loss`, when a loss is not finite either (a metric with the word loss in its name, or the last training
            step's), or when the trial ends without a finite value. `None`: loss in a new sweep; one that goes on keeps
            what it began with, and sweeps of earlier versions began with objective.
        check: Extent of the checks before trial 0: `parse`, `build`, or `step`.
        workers: Worker processes; `None`: one per GPU, or one per CPU core.
        timeout: Seconds after which the sweep stops; `None`: no limit.
        max_failures: Consecutive failed trials that end the sweep.
        slot: The resources of a trial.
        trial_timeout_s: Seconds, over all attempts, after which a trial ends; `None`: no limit.
        keep: Checkpoints that are kept: `all`, `none`, or those of the K best configurations, as `best_5`.
        retry_out_of_memory: Whether a trial that runs out of memory is retried with half the batch size, and gradients
            accumulated over two batches.
        tracking: Keys that replace those of `tracking` in the base.
        published: Published figures of `runs`, which reports compare with ours.
        claims: Published claims about `runs`, which reports test.
    """

    name: str
    base: Config
    objectives: list[Objective]
    n_trials: int
    space: Space
    constraints: dict[str, Constraint] = field(default_factory=dict)
    runs: dict[str, Values] = field(default_factory=dict)
    seeds: int = 1
    sampler: Plugin = Plugin("TPESampler")
    pruner: Plugin | None = None
    warm_start: list[str] = field(default_factory=list)
    stop: StopRule | None = None
    evaluate_test: str = "best"
    divergence: str | None = None
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
    def last_step(self) -> int | None:
        """The step of the last value that a trial of the base reports to the pruner; `None`: it depends on the data."""
        return validations_of(self.base.get("trainer") or {})

    def configuration(self, values: Values, run: str | None, seed_number: int) -> Config:
        """Returns the run config of a trial, without defaults.

        Args:
            values: Sampled values by name of the parameter.
            run: Name of a configuration of `runs`; `None`: there is none.
            seed_number: Number of the repeat, from 0.
        """
        config = merge(
            overlay(self.base, self.overlay_keys(values, run)), {"tracking": self.tracking} if self.tracking else {}
        )
        if self.slot.devices is not None or get_key(config, "trainer.devices") == "auto":
            config = merge(config, {"trainer": {"devices": self.slot.devices or 1}})
        config["seed_everything"] = self.seed(seed_number, config)
        first = self.objectives[0]
        for group in ("early_stopping", "checkpoint"):
            values_of = dict(config.get(group) or {})
            if not values_of.get("monitor"):
                config[group] = {**values_of, "monitor": first.metric, "mode": first.mode}
                if group == "early_stopping" and self.divergence == "loss":
                    config[group]["check_finite"] = False
        return config

    def overlay_keys(self, values: Values, run: str | None) -> Values:
        """Returns the dotted keys that a trial lays over the base; for the arguments see `configuration`."""
        return {**self.space.keys(values), **(self._run_keys(run) if run else {})}

    def seed(self, seed_number: int, config: Config) -> int:
        """Returns the seed of a repeat: that of a run config, plus the number of the repeat."""
        seed = config.get("seed_everything", 0)
        return (0 if isinstance(seed, bool) else int(seed)) + seed_number

    def _run_keys(self, run: str) -> Values:
        keys: Values = {}
        for name, value in self.runs[run].items():
            parameter = self.space.parameter_of(name)
            keys.update(parameter.keys(parameter.stored(value)) if parameter else {name: value})
        return keys

    def quantities(self) -> list[tuple[str, Quantity, list[str]]]:
        """Returns the key, the quantity, and the named runs of each published table and claim."""
        found = [(f"published[{i}]", table.quantity, [*table.values]) for i, table in enumerate(self.published)]
        return found + [(f"claims[{i}]", c.quantity, [*c.first, *c.second]) for i, c in enumerate(self.claims)]

    def dump(self) -> str:
        """Returns the spec as YAML. It holds every field, and `load_spec` reads it back."""
        return dump_yaml({spec_key(f.name): plain(getattr(self, f.name)) for f in fields(self)})


def spec_key(field_name: str) -> str:
    """Returns the key of the YAML file that holds a field of `SweepSpec`."""
    return "objective" if field_name == "objectives" else field_name


def plain(value: Any) -> Any:
    """Returns the value of a field as YAML can hold it."""
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    if isinstance(value, Space | PublishedTable | PublishedClaim):
        return value.dump()
    return {f.name: plain(getattr(value, f.name)) for f in fields(value)} if is_dataclass(value) else value


def processes_of(config: Config) -> int:
    """Returns the world size of a run config: processes that train together, one per device."""
    devices = get_key(config, "trainer.devices")
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 1


def _with_later_keys(base: Config) -> Config:
    """Returns a base with the keys that folders of earlier versions do not have."""
    given = base.get("early_stopping")
    return {**base, "early_stopping": {**_LATER_KEYS, **given}} if isinstance(given, dict) else base


def check_continues(old: SweepSpec, new: SweepSpec) -> None:
    """Refuses to continue a study with a spec that makes its trials incomparable.

    Raises:
        ConfigError: One of the `FIXED` fields differs.
    """
    for name in FIXED:
        before, after = (
            spec.space.identity() if name == "space" else plain(getattr(spec, name)) for spec in (old, new)
        )
        if name == "base":
            before, after = _with_later_keys(before), _with_later_keys(after)
        if before != after:
            what = _difference(before, after) if isinstance(before, dict) else f"{after!r} is not {before!r}"
            raise ConfigError(
                spec_key(name),
                f"must stay what this run folder began with ({what}); name another --run_dir, or set it back",
            )


def _difference(before: Values, after: Values) -> str:
    """Returns the first dotted key that differs, with both values."""
    old, new = dict(flatten(before)), dict(flatten(after))
    key = next(k for k in {**old, **new} if old.get(k) != new.get(k) or (k in old) != (k in new))
    return f"{key}: {new.get(key)!r} is not {old.get(key)!r}"
