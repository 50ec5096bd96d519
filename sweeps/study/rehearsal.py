"""Rehearses the sampler, the pruner and the terminator in memory, because Optuna checks some arguments only in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.terminator import BaseTerminator

from lit_dl.errors import ConfigError
from sweeps.spec.constraint import constraint_values
from sweeps.spec.spec import Plugin, SweepSpec
from sweeps.study.plugins import PluginClass
from sweeps.study.sampling import build_pruner, build_sampler, pruner_class, sampler_class, suggest_one, tell
from sweeps.study.stopping import build_terminator

_MOST_TRIALS, _MOST_EPOCHS = 120, 100


def dry_run_sampler(spec: SweepSpec) -> None:
    """Samples and prunes trials of a study in memory: enough of them for what samplers and pruners do after a start.

    Raises:
        ConfigError: The sampler or the pruner cannot work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    build_sampler(spec, 0)
    build_pruner(spec)
    with _refusals("sampler", spec.sampler):
        _sample(spec)
    if spec.pruner is not None:
        with _refusals("pruner", spec.pruner):
            _prune(spec)
    if spec.stop is not None and spec.stop.terminator is not None:
        terminator = build_terminator(spec.stop.terminator)
        with _refusals("stop.terminator", spec.stop.terminator):
            _terminate(spec, terminator)


@contextmanager
def _refusals(key: str, plugin: Plugin) -> Iterator[None]:
    """Turns any error of a plugin into one about its arguments."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ConfigError(
            f"{key}.init_args", f"{plugin.init_args!r} is refused by {plugin.class_path}: {text}"
        ) from None


def _sample(spec: SweepSpec) -> None:
    study = _study(spec)
    start = max(_arguments(sampler_class(spec), "n_startup_trials", "population_size"))
    for number in range(min(spec.n_trials, _MOST_TRIALS, start + 3)):
        study.sampler = build_sampler(spec, number)
        trial = study.ask()
        spec.space.sample(lambda parameter, trial=trial: suggest_one(trial, parameter))  # type: ignore[misc]
        for name, amount in constraint_values(spec.constraints, {}).items():
            trial.set_constraint(name, amount * (-1) ** number)
        tell(study, number, [_value(number)] * len(spec.objectives))


def _prune(spec: SweepSpec) -> None:
    study = _study(spec)
    study.pruner = build_pruner(spec)
    cls, worse = pruner_class(spec), 0.01 * spec.objectives[0].sign
    start = max(_arguments(cls, "n_startup_trials"))
    epochs = sum(_arguments(cls, "n_warmup_steps", "n_startup_steps", "patience", "interval_steps"))
    for number in range(max(2, min(spec.n_trials, _MOST_TRIALS, start + 2))):
        trial = study.ask()
        for epoch in range(1, min(_MOST_EPOCHS, epochs + 2) + 1):
            trial.report(worse * (number + epoch), epoch)  # so that each trial is worth pruning
            trial.should_prune()
        study.tell(trial, _value(number))


def _terminate(spec: SweepSpec, terminator: BaseTerminator) -> None:
    study = _study(spec)
    for number in range(min(spec.n_trials, _MOST_TRIALS)):
        study.sampler = optuna.samplers.RandomSampler(seed=number)
        trial = study.ask()
        spec.space.sample(lambda parameter, trial=trial: suggest_one(trial, parameter))  # type: ignore[misc]
        study.tell(trial, _value(number))
    terminator.should_terminate(study)


def _study(spec: SweepSpec) -> optuna.Study:
    directions: Any = [objective.direction for objective in spec.objectives]
    return optuna.create_study(directions=directions)


def _arguments(cls: PluginClass, *names: str) -> list[int]:
    """Returns the whole numbers among the arguments of these names, of a class and of all that are nested in it."""
    found = [inner.argument(name) for inner in cls for name in names]
    return [0, *(value for value in found if isinstance(value, int) and value > 0)]


def _value(number: int) -> float:
    """Returns a value of an objective that differs from trial to trial."""
    return number * 0.618 % 1.0
