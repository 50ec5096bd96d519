"""Checks before trial 0, with the classes loaded: every branch of the space, and one step of the base.

They run in a process of their own, which takes torch, the user's modules and whatever those do with it when it ends.
"""

from __future__ import annotations

import math
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

from lit_dl.config import Config, class_paths, get_key, merge, normal, normal_key, overlay
from lit_dl.errors import ConfigError, suggest
from sweeps.space import Parameter, Space, Values
from sweeps.spec import SweepSpec, with_space


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
    """`check_spec` in a fresh process.

    Raises:
        ConfigError: As `check_spec`; or that process died.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_quieten) as pool:
        try:
            return pool.submit(check_spec, spec).result()
        except BrokenProcessPool:
            raise ConfigError("base", "the process that tried one step of it died; try lit-dl fit on it") from None


def _quieten() -> None:
    from lit_dl.cli import quieten

    quieten()


def check_spec(spec: SweepSpec) -> Checked:
    """The spec, with types resolved and every branch tried.

    Raises:
        ConfigError: A key, type, value or metric that would fail in a trial.
    """
    import torch

    torch.set_num_threads(1)
    _check_keys(spec)
    spec = replace(spec, base=_completed(spec.base))
    spec = with_space(spec, _typed(spec))
    _check_branches(spec)
    config = spec.configuration(spec.space.first(), None, 0)
    metrics = _check_step(spec, config) if spec.check == "step" else []
    on_cpu = get_key(spec.base, "trainer.accelerator") == "cpu"
    return Checked(spec, 0 if on_cpu else torch.cuda.device_count(), metrics)


def _check_keys(spec: SweepSpec) -> None:
    from lit_dl.cli import LitCLI, split_classes
    from lit_dl.config import check_keys, unknown_key

    known = LitCLI(split_classes(spec.base)[0], {}, build=False, parse=False).known_keys()
    _, base = split_classes(spec.base)
    check_keys(base, known)
    groups = {".".join(key.split(".")[:n]) for key in known for n in range(1, key.count(".") + 1)}
    for parameter in spec.space:
        for key in parameter.targets():
            if key in ("model.class_path", "data.class_path"):
                return  # the keys are those of another class in each branch; the branches are checked all the same
            if key not in known and not any(key.startswith(f"{leaf}.") for leaf in known):
                place = "space" if parameter.presets is None else f"space.{parameter.name}.presets"
                error = unknown_key(key, [*known, *groups])
                raise ConfigError(f"{place}.{error.key}", error.problem)


def _completed(base: Config) -> Config:
    """The base with every default filled in, so that what it means stays when defaults change."""
    from lit_dl.cli import parse_config

    try:
        return normal(parse_config(base))
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
    from lit_dl.cli import parse_config

    return get_key(normal(parse_config(overlay(base, {key: value}))), key)


def _check_branches(spec: SweepSpec) -> None:
    samples: list[tuple[str, Values, str | None]] = [
        (f"space.{p.name}", values, None) for p, values in spec.space.branches()
    ]
    samples += [(f"runs.{name}", {}, name) for name in spec.runs]
    for place, values, run in samples or [("base", {}, None)]:
        config = spec.configuration(values, run, 0)
        try:
            _try_config(spec, config)
        except ConfigError as error:
            chosen = ", ".join(f"{k}={v!r}" for k, v in values.items() if f"space.{k}" == place)
            raise ConfigError(
                error.key, error.problem + (f" (with {chosen} of {place})" if chosen else f" (in {place})")
            ) from None


def _try_config(spec: SweepSpec, config: Config) -> None:
    from lit_dl.cli import build_run, parse_config

    if spec.check == "parse" or class_paths(config)[0] != "lit_dl.Classifier":
        parse_config(config)
    else:
        build_run(config).check()


def _check_step(spec: SweepSpec, config: Config) -> list[str]:
    """Names of the metrics that one training and one validation batch log."""
    from lit_dl.cli import build_run

    limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "logger": False, "barebones": False}
    config = merge(config, {"trainer": limits, "early_stopping": {"patience": None}})
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
    for key, metric in watched:
        if metric not in metrics:
            raise ConfigError(
                key, f"{metric!r} is never logged; logged are {', '.join(metrics) or 'none'}{suggest(metric, metrics)}"
            )
    return metrics
