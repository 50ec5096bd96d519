"""Calls the function of a define-by-run space before trial 0, to find what it suggests and what it returns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from lit_dl.errors import ConfigError
from sweeps.spec.define_by_run import KEY, FunctionSpace, SuggestedParameter, Suggestion
from sweeps.spec.space import Parameter, Values

_MOST_CALLS = 500  # a function may make up new names without end
_RANDOM_CALLS = 10

Choose = Callable[[str, BaseDistribution], Any]


class _Choosing(BaseSampler):
    """A sampler that asks a function for each value."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return {}

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> Values:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._choose(param_name, param_distribution)


def explored(space: FunctionSpace, count_up_to: int = 0) -> FunctionSpace:
    """Returns the space with what its function suggests and returns: each choice and both bounds, and random values.

    Args:
        space: The space.
        count_up_to: Configurations to count, for samplers that go through all of them; 0: they are not counted.

    Raises:
        ConfigError: The function raises, returns something else than keys of a run config, or suggests nothing.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    parameters: dict[str, Parameter] = {}
    suggestions = []
    for suggestion, distributions in _calls(space, study):
        suggestions.append(suggestion)
        for name, distribution in distributions.items():
            _check_choices(space, name, distribution)
            parameter = SuggestedParameter.of(name, distribution)
            parameters[name] = parameter.joined(parameters.get(name, parameter))
    if not parameters:
        raise ConfigError(KEY, f"{space.path} must suggest a value, as by trial.suggest_float; it suggests none")
    points = _count_points(space, count_up_to) if count_up_to and all(map(_is_finite, parameters.values())) else None
    return replace(space, parameters=parameters, points=points, suggestions=suggestions)


def _calls(space: FunctionSpace, study: optuna.Study) -> Iterator[tuple[Suggestion, dict[str, BaseDistribution]]]:
    """Calls the function with the first value of everything, with each other value, and with random values."""
    seen: set[tuple[str, str]] = set()
    left: list[Values] = [{}]
    for _ in range(_MOST_CALLS):
        if not left:
            break
        fixed = left.pop(0)
        trial, suggestion = _call(space, study, partial(_choose, fixed))
        yield suggestion, trial.distributions
        seen |= {(name, repr(value)) for name, value in trial.params.items()}
        for name, distribution in trial.distributions.items():
            for value in _checked_values(distribution):
                if (name, repr(value)) not in seen:
                    seen.add((name, repr(value)))
                    left.append({**fixed, name: value})
    random = RandomSampler(seed=0)
    for _ in range(_RANDOM_CALLS):
        trial, suggestion = _call(space, study, lambda name, d: random.sample_independent(study, None, name, d))  # type: ignore[arg-type]
        yield suggestion, trial.distributions


def _call(space: FunctionSpace, study: optuna.Study, choose: Choose) -> tuple[optuna.Trial, Suggestion]:
    """Calls the function with a trial in memory.

    Raises:
        ConfigError: The function raises, or returns something else than keys of a run config.
    """
    study.sampler = _Choosing(choose)
    trial = study.ask()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Choices for a categorical")  # which are refused below
            keys = space.suggest(trial)
    except (Exception, SystemExit) as error:
        raise space.failure(error, trial.params) from error
    return trial, Suggestion(trial.params, keys)


def _choose(fixed: Values, name: str, distribution: BaseDistribution) -> Any:
    """Returns the fixed value of a parameter if its distribution has it, else its first."""
    values = _checked_values(distribution)
    value = fixed.get(name, values[0])
    return value if value in values else values[0]


def _checked_values(distribution: BaseDistribution) -> list[Any]:
    """Returns every choice, or both bounds of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


def _check_choices(space: FunctionSpace, name: str, distribution: BaseDistribution) -> None:
    for choice in distribution.choices if isinstance(distribution, CategoricalDistribution) else ():
        if not isinstance(choice, str | int | float | None):
            raise ConfigError(
                KEY,
                f"{space.path} must suggest texts, numbers, true, false or null, which Optuna can store; got {choice!r}"
                f" for {name!r}; suggest a name, and return the value that it stands for",
            )


def _is_finite(parameter: Parameter) -> bool:
    return parameter.type != "float" or parameter.step is not None


def _count_points(space: FunctionSpace, most: int) -> int | None:
    """Returns the number of configurations; `None` if there are more than `most`."""
    path: list[int] = []  # which value of each parameter is taken, in the order in which they are suggested
    for count in range(1, most + 1):
        taken: list[tuple[int, int]] = []  # that, and the number of values

        def choose(_: str, distribution: BaseDistribution, path: list[int] = path, taken: Any = taken) -> Any:
            values = _all_values(distribution)
            taken.append((path[len(taken)] if len(taken) < len(path) else 0, len(values)))
            return values[taken[-1][0]]

        _call(space, optuna.create_study(), choose)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return count
        path = [*(number for number, _ in taken[:-1]), taken[-1][0] + 1]
    return None


def _all_values(distribution: BaseDistribution) -> list[Any]:
    """Returns all values of a distribution that has a finite number of them."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    step = distribution.step
    assert step is not None
    count = math.floor((distribution.high - distribution.low) / step + 1e-9) + 1
    return [min(distribution.low + number * step, distribution.high) for number in range(count)]
