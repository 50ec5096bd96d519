"""Checks before trial 0, with the classes loaded: every branch of the space, and one step of the base.

They run in a process of their own, which takes torch, the user's modules and whatever those do with it when it ends.
"""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lit_dl.config.keys import OUR_MODELS, Config, class_paths, get_key, normal_key, normalize
from lit_dl.config.overlay import merge, overlay
from lit_dl.errors import ConfigError, LitError, never_logged
from sweeps.processes.fork_server import fork_server, parent_channel
from sweeps.processes.parent_watch import kill_own_group, on_parent_exit
from sweeps.spec.space import Parameter, Space
from sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Checked:
    """What the checks found out.

    Args:
        spec: The spec with the types of its ranges known.
        gpus: GPUs that trials may use; 0 when the base asks for the CPU.
        metrics: Names that a run logs; empty when no step was run.
    """

    spec: SweepSpec
    gpus: int
    metrics: list[str]


def check_in_child(spec: SweepSpec) -> Checked:
    """Runs `check_spec` in a process of its own.

    Raises:
        ConfigError: As `check_spec`; or that process died.
    """
    process = fork_server().fork("sweeps.spec.preflight:run_check", spec, name="check")
    with closing(process):
        try:
            result = process.channel.recv()
        except (EOFError, OSError):
            raise ConfigError("base", "the process that tried one step of it died; try lit-dl fit on it") from None
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Checked)
    return result


def run_check(spec: SweepSpec) -> None:
    """Runs `check_spec` in this process, and sends the launcher its result or its exception."""
    from lit_dl.cli.command import ignore_slurm, silence_lightning

    silence_lightning()
    ignore_slurm()
    on_parent_exit(kill_own_group)
    try:
        result: Checked | Exception = check_spec(spec)
    except LitError as error:
        result = error
    except Exception as error:
        traceback.print_exc()  # which does not cross to the launcher
        result = error
    parent_channel().send(result)


def check_spec(spec: SweepSpec) -> Checked:
    """The spec, with types resolved and every branch tried.

    Raises:
        ConfigError: A key, type, value or metric that would fail in a trial.
    """
    import torch

    torch.set_num_threads(1)
    _check_keys(spec)
    _check_metrics_of_ours(spec)
    spec = replace(spec, base=_completed(spec.base))
    _check_devices(spec)
    spec = replace(spec, space=_typed(spec))
    _check_branches(spec)
    config = spec.configuration(spec.space.first(), None, 0)
    metrics = _check_step(spec, config) if spec.check == "step" else []
    on_cpu = get_key(spec.base, "trainer.accelerator") == "cpu"
    return Checked(spec, 0 if on_cpu else torch.cuda.device_count(), metrics)


def _check_keys(spec: SweepSpec) -> None:
    from lit_dl.cli.lit_cli import LitCLI
    from lit_dl.config.keys import check_keys, split_classes, unknown_key

    known = LitCLI(split_classes(spec.base)[0], {}, build=False, parse=False).known_keys()
    _, base = split_classes(spec.base)
    check_keys(base, known)
    for parameter in spec.space:
        for key in parameter.targets():
            if key in ("model.class_path", "data.class_path"):
                return  # the keys are those of another class in each branch; the branches are checked all the same
            if key not in known and not any(key.startswith(f"{leaf}.") for leaf in known):
                raise ConfigError(f"{_place(parameter, key)}.{key}", unknown_key(key, known).problem)


def _place(parameter: Parameter, key: str) -> str:
    """Where in the spec a parameter names a key."""
    preset = next((name for name, values in (parameter.presets or {}).items() if key in values), None)
    return "space" if preset is None else f"space.{parameter.name}.presets.{preset}"


def _check_metrics_of_ours(spec: SweepSpec) -> None:
    """What our own model logs is known without a step."""
    path = class_paths(spec.base)[0]
    if path not in OUR_MODELS or "model.class_path" in {key for p in spec.space for key in p.targets()}:
        return
    import lit_dl

    logged = getattr(lit_dl, path.rpartition(".")[2]).logged()
    for objective in spec.objectives:
        if objective.metric not in logged:
            raise never_logged("objective.metric", objective.metric, logged)
    for key, quantity, _ in spec.quantities():
        like = re.sub(r"^test\w*/", "val/", quantity.metric)  # a run may log more, but not of these
        if like.startswith(("train/", "val/")) and like not in logged:
            raise never_logged(f"{key}.metric", quantity.metric, logged)


def _completed(base: Config) -> Config:
    """The base with every default filled in, so that what it means stays when defaults change."""
    from lit_dl.cli.lit_cli import parse_config

    try:
        return normalize(parse_config(base))
    except ConfigError:
        return base  # the space may give what is missing; the branches are checked


def _typed(spec: SweepSpec) -> Space:
    types = {}
    first = spec.space.with_types({p.name: _spelled(p) for p in spec.space if p.is_range}).first()
    for parameter in spec.space:
        if parameter.is_range and parameter.type is None:
            types[parameter.name] = _type_of(spec, parameter, first)
    return spec.space.with_types(types)


def _spelled(parameter: Parameter) -> str:
    bounds = (parameter.low, parameter.high, parameter.step)
    return "int" if all(isinstance(bound, int) for bound in bounds if bound is not None) else "float"


def _type_of(spec: SweepSpec, parameter: Parameter, first: dict[str, Any]) -> str:
    """`int` or `float` as the target is annotated; as the bounds are spelled where it takes both."""
    assert parameter.low is not None
    key = normal_key(parameter.name)
    base = spec.configuration({k: v for k, v in first.items() if k != parameter.name}, None, 0)
    try:
        whole = _parsed(base, key, math.ceil(parameter.low))
    except ConfigError:
        return _spelled(parameter)  # the branch check says what is wrong
    if isinstance(whole, float):
        return "float"
    try:
        _parsed(base, key, math.floor(parameter.low) + 0.5)
    except ConfigError:
        return "int"
    return _spelled(parameter)


def _parsed(base: Config, key: str, value: float) -> Any:
    from lit_dl.cli.lit_cli import parse_config

    return get_key(normalize(parse_config(overlay(base, {key: value}))), key)


def _check_branches(spec: SweepSpec) -> None:
    try:
        _try_config(spec, spec.configuration(spec.space.first(), None, 0))
    except ConfigError as error:
        owner = next((parameter for parameter in spec.space if error.key in parameter.targets()), None)
        raise ConfigError(error.key, error.problem + (f" (in space.{owner.name})" if owner else "")) from None
    for parameter, values in spec.space.branches():
        with _told(f" (with {values[parameter.name]!r} of space.{parameter.name})"):
            _try_config(spec, spec.configuration(values, None, 0))
    for run in spec.runs:
        with _told(f" (in runs.{run})"):
            _try_config(spec, spec.configuration({}, run, 0))


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Adds to an error which branch it is of."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(error.key, error.problem + where) from None


def _try_config(spec: SweepSpec, config: Config) -> None:
    from lit_dl.cli.lit_cli import build_run, parse_config

    _check_trainer(config)
    if spec.check == "parse" or class_paths(config)[0] not in OUR_MODELS:
        parse_config(config)
    else:
        build_run(config).check()


def _check_trainer(config: Config) -> None:
    """Refuses what Lightning would take and no trial can use."""
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        value = get_key(config, f"trainer.{key}")
        if value is not None and not isinstance(value, str) and value == 0:
            raise ConfigError(f"trainer.{key}", f"must be above 0, or no epoch has a metric; got {value!r}")
    nodes = get_key(config, "trainer.num_nodes")
    if nodes not in (None, 1):
        raise ConfigError("trainer.num_nodes", f"must be 1 in a sweep, whose trials are on one machine; got {nodes!r}")
    _check_strategy(get_key(config, "trainer.strategy"))


def _check_strategy(strategy: object) -> None:
    """Refuses what would start processes of its own from that of a worker."""
    name, start = strategy, None
    if isinstance(strategy, dict):
        name, start = strategy.get("class_path"), (strategy.get("init_args") or {}).get("start_method")
    if any(word in str(name) for word in ("spawn", "fork", "notebook")) or start not in (None, "popen"):
        raise ConfigError(
            "trainer.strategy", f"must be one whose processes a worker can start; got {start or name!r}; use ddp"
        )


def _check_devices(spec: SweepSpec) -> None:
    """Holds `trainer.devices`, which is that of all trials, to the size of slots."""
    key, devices, gpus = "trainer.devices", get_key(spec.base, "trainer.devices"), spec.slot.gpus
    places = [_place(parameter, key) for parameter in spec.space if key in parameter.targets()]
    places += [f"runs.{run}" for run, values in spec.runs.items() if key in values]
    if places:
        raise ConfigError(f"{places[0]}.{key}", "must be the same in all trials, as slots are; set it in the base")
    if gpus is not None and get_key(spec.base, "trainer.accelerator") == "cpu":
        raise ConfigError("slot.gpus", f"must be left out with trainer.accelerator=cpu; got {gpus:g}")
    if devices in (None, "auto"):
        return
    if not re.fullmatch("[1-9][0-9]*", str(devices)):
        raise ConfigError(
            key, f"must be a whole number, 1 or more, or auto in a sweep, whose slots say which; got {devices!r}"
        )
    if gpus is not None and int(devices) != (spec.slot.devices or 1):
        raise ConfigError(key, f"must be what slot.gpus={gpus:g} says, or left out; got {devices}")


def _step_limits(config: Config) -> Config:
    """Trainer arguments for one training and one validation batch, if there ever is one, in this process alone."""
    every, epochs = (get_key(config, f"trainer.{key}") for key in ("check_val_every_n_epoch", "max_epochs"))
    never = get_key(config, "trainer.limit_val_batches") == 0 or (every or 1) > (epochs or 1) >= 0
    limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0 if never else 1}
    alone = {"devices": 1, "strategy": "auto"}
    return {**limits, **alone, "check_val_every_n_epoch": 1, "val_check_interval": 1.0, "logger": False}


def _check_step(spec: SweepSpec, config: Config) -> list[str]:
    """Names of the metrics that one training and one validation batch log."""
    from lit_dl.cli.lit_cli import build_run

    config = merge(config, {"trainer": _step_limits(config), "early_stopping": {"patience": None}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = build_run(config)
        try:
            run.fit()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                "base", f"fails in its first batch ({type(error).__name__}: {error}); try lit-dl fit on it"
            ) from error
    metrics = sorted(name for name, value in run.trainer.callback_metrics.items() if value.numel() == 1)
    watched = [("objective.metric", objective.metric) for objective in spec.objectives]
    watched += [(f"{group}.monitor", get_key(config, f"{group}.monitor")) for group in ("early_stopping", "checkpoint")]
    watched += [(f"{key}.metric", quantity.metric) for key, quantity, _ in spec.quantities() if quantity.has_epochs]
    for key, metric in watched:
        if metric not in metrics:
            raise never_logged(key, metric, metrics)
    return metrics
