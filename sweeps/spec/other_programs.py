"""What the keys of W&B sweeps and of Ray Tune are called here, for errors that say what to write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lit_dl.config.yaml_io import parse_yaml
from lit_dl.errors import ConfigError

_PARAMETER_KEYS = {
    "min",
    "max",
    "value",
    "values",
    "distribution",
    "q",
    "mu",
    "sigma",
    "lower",
    "upper",
    "probabilities",
}
_LOG_OF_E = ("log_uniform", "q_log_uniform")  # their bounds are exponents of e
_UNKNOWN = re.compile("normal|beta|inv_log")
_RAY_NAME = r"(?:ray\.)?(?:tune\.)?(q?(?:log)?uniform|q?(?:log)?randint|q?randn|choice|grid_search|sample_from)"
_RAY_CALL = re.compile(rf"{_RAY_NAME}\s*\((.*)\)", re.DOTALL)
_GENERAL = "write {low: ..., high: ...}, with log: true for a logarithmic scale, or {choices: [...]}"

_SPEC_KEYS = {
    "parameters": "space",
    "param_space": "space",
    "run_cap": "n_trials",
    "num_samples": "n_trials",
    "search_alg": "sampler",
    "scheduler": "pruner",
    "max_concurrent_trials": "workers",
    "resources_per_trial": "slot",
    "time_budget_s": "timeout",
}
_METHODS = {"bayes": "TPESampler or GPSampler", "random": "RandomSampler", "grid": "GridSampler"}
_PLUGINS = {
    "ASHA": "SuccessiveHalvingPruner",
    "ASHAScheduler": "SuccessiveHalvingPruner",
    "AsyncHyperBandScheduler": "SuccessiveHalvingPruner",
    "HyperBandScheduler": "HyperbandPruner",
    "HyperBandForBOHB": "HyperbandPruner",
    "hyperband": "HyperbandPruner",
    "MedianStoppingRule": "MedianPruner",
    "OptunaSearch": "TPESampler",
    "HyperOptSearch": "TPESampler",
    "TuneBOHB": "TPESampler",
    "BayesOptSearch": "GPSampler",
    "BasicVariantGenerator": "RandomSampler",
    "bayes": "TPESampler or GPSampler",
    "random": "RandomSampler",
    "grid": "GridSampler",
}
_ARGUMENTS = {
    "grace_period": "min_resource",
    "min_iter": "min_resource",
    "eta": "reduction_factor",
    "max_t": "max_resource in HyperbandPruner, and trainer.max_epochs elsewhere",
    "max_iter": "max_resource in HyperbandPruner, and trainer.max_epochs elsewhere",
    "min_samples_required": "n_startup_trials",
}


def as_yaml(values: Mapping[str, Any]) -> str:
    """Returns a mapping in one line, as one writes it in a spec.

    >>> as_yaml({"low": 1e-05, "log": True, "choices": ["relu", None]})
    '{low: 1e-05, log: true, choices: [relu, null]}'
    """
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in values.items()) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return as_yaml(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def refuse_parameter(key: str, entry: object) -> None:
    """Refuses an entry of a space that is written for W&B or for Ray.

    Raises:
        ConfigError: It is, with what to write here.
    """
    if (found := _ray_entry(entry)) is not None:
        raise _wrong_spelling(key, "Ray Tune", found)
    if isinstance(entry, Mapping) and _PARAMETER_KEYS & set(entry) and not {"low", "high", "choices"} & set(entry):
        raise _wrong_spelling(key, "W&B", _wandb_entry(entry))


def _wrong_spelling(key: str, program: str, write: Mapping[str, Any] | str) -> ConfigError:
    hint = write if isinstance(write, str) else f"write {as_yaml(write)}"
    return ConfigError(
        key, f"must be a mapping with low and high, choices, or presets; got the spelling of {program}; {hint}"
    )


def _wandb_entry(entry: Mapping[str, Any]) -> dict[str, Any] | str:
    distribution = str(entry.get("distribution", ""))
    if "values" in entry:
        return {"choices": entry["values"]}
    if "value" in entry:
        return f"set the key to {_scalar(entry['value'])} in base"
    low, high = entry.get("min", entry.get("lower")), entry.get("max", entry.get("upper"))
    if _UNKNOWN.search(distribution) or low is None or high is None:
        return _GENERAL
    if distribution in _LOG_OF_E:
        low, high = (float(f"{math.exp(bound):.4g}") for bound in (low, high))
    log = {"log": True} if "log" in distribution else {}
    step = {"step": entry["q"]} if "q" in entry and not log else {}
    return {"low": low, "high": high, **log, **step}


def _ray_entry(entry: object) -> dict[str, Any] | str | None:
    """Returns what to write for `tune.loguniform(1e-4, 1e-1)`, or for `{tune.loguniform: [1e-4, 1e-1]}`."""
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, values),) = entry.items()
        match = re.fullmatch(_RAY_NAME, str(name))
        return None if match is None else _from_call(match[1], values if isinstance(values, list) else [values])
    match = _RAY_CALL.fullmatch(entry.strip()) if isinstance(entry, str) else None
    if match is None:
        return None
    try:
        values = parse_yaml(f"[{match[2]}]", "")
    except ConfigError:
        return _GENERAL
    is_nested = len(values) == 1 and isinstance(values[0], list)
    return _from_call(match[1], values[0] if is_nested else values)


def _from_call(name: str, values: list[Any]) -> dict[str, Any] | str:
    if name in ("choice", "grid_search"):
        return {"choices": values}
    kind = re.search("uniform|randint", name)
    if kind is None or len(values) < 2 or not all(isinstance(value, int | float) for value in values):
        return _GENERAL
    is_quantized, log = name.startswith("q"), {"log": True} if "log" in name else {}
    high = values[1] - 1 if kind[0] == "randint" and not is_quantized else values[1]  # which Ray leaves out
    step = {"step": values[2]} if is_quantized and len(values) > 2 and not log else {}
    return {"low": values[0], "high": high, **log, **step}


def spec_key_hint(key: str, value: Any) -> str:
    """Returns the end of an error about an unknown key of a spec: what it is called here; else an empty text."""
    if key == "metric":
        return f"; write objective: {as_yaml(_objective(value))}"
    if key == "mode":
        return f"; write objective: {as_yaml(_objective({'goal': value}))}"
    if key == "method":
        return f"; write sampler: {_METHODS.get(str(value), 'a sampler of Optuna')}"
    if key == "early_terminate":
        given = value if isinstance(value, Mapping) else {}
        arguments = {_ARGUMENTS[name]: given[name] for name in ("min_iter", "eta") if name in given}
        return f"; write pruner: {as_yaml({'class_path': 'HyperbandPruner', 'init_args': arguments})}"
    return f"; write {_SPEC_KEYS[key]}" if key in _SPEC_KEYS else ""


def objective_hint(values: Mapping[str, Any]) -> str:
    """Returns the end of an error about the keys of an objective; empty where they are not those of W&B or Ray."""
    is_other = {"name", "goal", "mode"} & set(values)
    return f"; write {as_yaml(_objective(values))}" if is_other else ""


def _objective(value: Any) -> dict[str, Any]:
    given = value if isinstance(value, Mapping) else {"name": value}
    goal = str(given.get("direction") or given.get("goal") or given.get("mode") or "maximize")
    direction = {"max": "maximize", "min": "minimize"}.get(goal, goal)
    return {"metric": given.get("metric") or given.get("name") or "val/acc", "direction": direction}


def plugin_hint(name: str) -> str:
    """Returns the end of an error about an unknown sampler or pruner: which one of Optuna is alike."""
    found = _PLUGINS.get(name.rpartition(".")[2])
    return f"; Optuna's is {found}" if found else ""


def argument_hint(name: str) -> str:
    """Returns the end of an error about an unknown argument of a sampler or pruner: what Optuna calls it."""
    return f"; write {_ARGUMENTS[name]}" if name in _ARGUMENTS else ""
