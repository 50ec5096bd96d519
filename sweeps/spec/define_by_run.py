"""A define-by-run space: a function of the user takes an Optuna trial and returns the keys of the run config."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from lit_dl.config.classes import import_function
from lit_dl.config.keys import flatten, normal_key, short_key
from lit_dl.errors import ConfigError
from sweeps.spec.space import Parameter, Space, Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna import Trial
    from optuna.distributions import BaseDistribution

KEY = "space.function"


@dataclass(frozen=True)
class SuggestedParameter(Parameter):
    """A parameter that a function suggests. Its name is free: the function says which keys of a run config are set."""

    @classmethod
    def of(cls, name: str, distribution: BaseDistribution) -> SuggestedParameter:
        """Returns the parameter with a distribution of Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if isinstance(distribution, CategoricalDistribution):
            return cls(name, choices=list(distribution.choices))
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        is_int = isinstance(distribution, IntDistribution)
        step = None if is_int and distribution.step == 1 else distribution.step
        return cls(name, distribution.low, distribution.high, distribution.log, step, type="int" if is_int else "float")

    def joined(self, other: Parameter) -> Parameter:
        """Returns the parameter with all values of both; a function may give a range other bounds in other trials."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return self
        return replace(self, low=min(self.low, other.low), high=max(self.high, other.high))

    def targets(self) -> set[str]:
        """Returns nothing: the function sets the keys."""
        return set()


@dataclass(frozen=True)
class Suggestion:
    """What a function suggested and returned for a trial.

    Args:
        params: The values that it suggested, by name.
        keys: The dotted keys that it returned, with their values.
    """

    params: Values
    keys: Values


@dataclass
class FunctionSpace(Space):
    """A space whose values a function suggests. A sample of it is what the function returned: dotted keys and values.

    Args:
        path: Import path of the function, `suggest(trial) -> {dotted key: value}`.
        parameters: What it suggests, as far as the calls before trial 0 have shown; see `explored`.
        points: Number of its configurations, where they were counted.
        suggestions: Those of the calls before trial 0; none in a process that did not make them.
    """

    path: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)  # type: ignore[assignment]
    points: int | None = None
    suggestions: list[Suggestion] = field(default_factory=list)

    def name_of(self, key: str) -> str:
        """Returns the key: the function alone knows which keys a parameter sets."""
        return key

    def parameter_of(self, key: str) -> Parameter | None:  # noqa: ARG002
        """Returns `None`: a named run sets its keys without the function."""
        return None

    @property
    def is_conditional(self) -> bool:
        """True: which parameters a trial has may depend on others."""
        return True

    @cached_property
    def function(self) -> Callable[[Trial], object]:
        """The function, imported.

        Raises:
            ConfigError: It cannot be imported, or cannot be called.
        """
        return import_function(KEY, self.path)

    def load(self) -> None:
        """Imports the function; see `function`."""
        _ = self.function

    def suggest(self, trial: Trial) -> Values:
        """Calls the function; returns the dotted keys that it set, with their values.

        Raises:
            ConfigError: It returned something that a run config cannot hold. What it raises itself is not caught.
        """
        returned = self.function(trial)
        if not isinstance(returned, Mapping):
            raise self._error(f"must return a mapping of dotted keys to values; got {returned!r}")
        for key in returned:
            if not isinstance(key, str):
                raise self._error(f"must return dotted keys as texts; got {key!r}")
        return {normal_key(key): self._plain(key, value) for key, value in flatten(returned)}

    def _plain(self, key: str, value: object) -> Any:
        """Returns a value as YAML and JSON hold it: numbers of NumPy and tuples as those of Python and lists."""
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return {str.__str__(name): self._plain(f"{key}.{name}", part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(f"{key}.{number}", part) for number, part in enumerate(value)]
        if isinstance(value, str):
            return str.__str__(value)  # of an enum that is a text, too
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real) and math.isfinite(value):
            return float(value)
        raise self._error(
            f"must return what a run config can hold: texts, finite numbers, true, false, null, lists and mappings of "
            f"texts to these; got {value!r} ({type(value).__name__}) for {key}"
        )

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(KEY, f"{self.path} {problem}")

    def failure(self, error: BaseException, params: Values) -> ConfigError:
        """Returns the error for an exception in the function, with the line that raised it."""
        if isinstance(error, ConfigError):
            return ConfigError(error.key, f"{error.problem}{_with(params)}")
        frames = traceback.extract_tb(error.__traceback__)
        own = getattr(getattr(self.function, "__code__", None), "co_filename", None)
        line = next((f", line {frame.lineno}" for frame in reversed(frames) if frame.filename == own), "")
        text = f"{type(error).__name__}: {error}".split("\n")[0]
        return self._error(f"must return the keys of a trial; it raised {text}{line}{_with(params)}")

    # What the calls before trial 0 have shown

    def keys(self, values: Values) -> Values:
        """Returns the dotted keys that a sample sets: the sample itself."""
        return values

    def first(self) -> Values:
        """Returns the keys of the first suggestion."""
        return self.suggestions[0].keys

    def branches(self) -> Iterator[tuple[str, Values]]:
        """Yields the keys of each suggestion, with what they are called in errors."""
        for suggestion in self.suggestions:
            yield f"in what {self.path} returned{_with(suggestion.params)}", suggestion.keys

    def origin(self, key: str) -> str:
        """Returns where a dotted key was set: by the function, or an empty text."""
        return f"what {self.path} returned" if self.spec_keys(key) else ""

    def spec_keys(self, target: str) -> list[str]:
        """Returns the key of the spec under which a suggestion sets a dotted key, if one does."""
        returned = {short_key(key) for suggestion in self.suggestions for key in suggestion.keys}
        return [KEY] if short_key(target) in returned else []

    def with_types(self, types: Mapping[str, str]) -> FunctionSpace:  # noqa: ARG002 - Optuna knows the types
        """Returns the space itself."""
        return self

    def with_seen(self, params: Iterable[Values]) -> FunctionSpace:
        """Returns the space with the parameters of finished trials that the calls before trial 0 have not shown."""
        values: dict[str, list[Any]] = {}
        for name, value in (item for trial in params for item in trial.items() if item[0] not in self.parameters):
            if value not in values.setdefault(name, []):
                values[name].append(value)
        seen = {name: SuggestedParameter(name, choices=found) for name, found in values.items()}
        return replace(self, parameters={**self.parameters, **seen})

    def dump(self) -> Values:
        """Returns the space as a spec holds it."""
        points = {} if self.points is None else {"points": self.points}
        parameters = {name: parameter.dump() for name, parameter in self.parameters.items()}
        return {"function": self.path, "parameters": parameters, **points}

    def identity(self) -> Values:
        """Returns what must stay the same while a sweep goes on: the function, and not what it was seen to suggest."""
        return {"function": self.path}


def _with(params: Values) -> str:
    return f" with {', '.join(f'{name}={value!r}' for name, value in params.items())}" if params else ""
