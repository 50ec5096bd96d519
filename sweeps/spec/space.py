"""The search space: its parameters, their conditions, and the keys of a run config that a sample sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lit_dl.config.keys import normal_key, short_key
from lit_dl.config.yaml_io import yaml_text
from lit_dl.errors import ConfigError

Values = dict[str, Any]
When = dict[str, list[Any]]

# What an entry of each kind may hold in a spec.
FIELDS = {
    "range": ("low", "high", "log", "step", "type", "when"),
    "choices": ("choices", "when"),
    "presets": ("presets", "when"),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a search space: a range, choices, or presets.

    Args:
        name: The dotted key that the parameter sets; for presets a free name.
        low: Lower bound of a range.
        high: Upper bound of a range, included.
        log: Whether the range is sampled on a logarithmic scale.
        step: Distance between the values of a range.
        type: `int` or `float`; `None` until the annotation of the key is known.
        choices: Values to choose from.
        presets: Named groups of dotted keys and values, one of which is chosen.
        when: Conditions: the parameter exists only if each of these parameters has one of the listed values.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    type: str | None = None
    choices: list[Any] | None = None
    presets: dict[str, Values] | None = None
    when: When = field(default_factory=dict)

    @property
    def is_range(self) -> bool:
        """Whether this is a range, and not choices or presets."""
        return self.low is not None

    def applies(self, values: Values) -> bool:
        """Returns whether the conditions in `when` hold for the values of the parameters before this one."""
        return all(values.get(name) in options for name, options in self.when.items())

    def options(self) -> list[Any]:
        """Returns the choices of the sampler: names of presets, or choices as the storage holds them.

        Lists and mappings are JSON text there; where two have the same, as `{1: a}` and `{"1": a}`, they are YAML text.
        """
        if self.presets is not None:
            return list(self.presets)
        options = [_storable(choice) for choice in self.choices or []]
        return [
            yaml_text(choice) if isinstance(choice, list | dict) and options.count(option) > 1 else option
            for choice, option in zip(self.choices or [], options, strict=True)
        ]

    def stored(self, value: Any) -> Any:
        """Returns a choice as Optuna's storage holds it."""
        same = (option for choice, option in self._choices() if repr(choice) == repr(value))
        return next(same, _storable(value))

    def _choices(self) -> Iterator[tuple[Any, Any]]:
        """Yields each choice, with the option that stands for it."""
        return zip(self.choices or [], self.options() if self.choices else [], strict=True)

    def checked_values(self) -> list[Any]:
        """Returns the values that are checked before trial 0: every option, or both bounds of a range."""
        return [self._number(self.low), self._number(self.high)] if self.is_range else self.options()

    def _number(self, value: float | None) -> float:
        assert value is not None
        return int(value) if self.type == "int" else float(value)

    def keys(self, value: Any) -> Values:
        """Returns the dotted keys that a sampled value sets, with their values."""
        if self.presets is not None:
            return self.presets[value]
        if self.choices is not None:
            value = next((choice for choice, option in self._choices() if option == value), value)
        return {normal_key(self.name): value}

    def targets(self) -> set[str]:
        """Returns all dotted keys that the parameter may set."""
        return {key for values in self.presets.values() for key in values} if self.presets else {normal_key(self.name)}

    def spec_key(self, target: str) -> str:
        """Returns the key of the spec under which the parameter sets a dotted key."""
        preset = next((name for name, values in (self.presets or {}).items() if target in values), None)
        return f"space.{target}" if preset is None else f"space.{self.name}.presets.{preset}.{target}"

    def distribution(self) -> Any:
        """Returns the distribution of Optuna that the parameter is sampled from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if not self.is_range:
            return CategoricalDistribution(self.options())
        assert self.low is not None
        assert self.high is not None
        if self.type == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def dump(self) -> Values:
        """Returns the entry of a spec."""
        kind = "range" if self.is_range else "choices" if self.choices is not None else "presets"
        values = {name: getattr(self, name) for name in FIELDS[kind]}
        return {
            name: value for name, value in values.items() if value is not None and value is not False and value != {}
        }


class Space:
    """A search space. A parameter comes after all parameters that its conditions name."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = {parameter.name: parameter for parameter in _ordered(parameters)}

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters.values())

    def __len__(self) -> int:
        return len(self.parameters)

    def __contains__(self, name: str) -> bool:
        return name in self.parameters

    def name_of(self, key: str) -> str:
        """Returns the name of the range or the choices that set a dotted key, however it is spelled; else the key."""
        found = (p.name for p in self if p.presets is None and short_key(normal_key(p.name)) == short_key(key))
        return next(found, key)

    def parameter_of(self, key: str) -> Parameter | None:
        """Returns the parameter that a key of a named run is a value of; `None`: the run sets the key itself."""
        return self.parameters.get(key)

    @property
    def is_conditional(self) -> bool:
        """Whether a parameter has a condition."""
        return any(parameter.when for parameter in self)

    def sample(self, choose: Callable[[Parameter], Any]) -> Values:
        """Returns a sample: a value from `choose` for each parameter, without those with unmet conditions."""
        values: Values = {}
        for parameter in self:
            if parameter.applies(values):
                values[parameter.name] = choose(parameter)
        return values

    def keys(self, values: Values) -> Values:
        """Returns the dotted keys that a sample sets, with their values."""
        return {key: value for name in values for key, value in self.parameters[name].keys(values[name]).items()}

    def branches(self) -> Iterator[tuple[str, Values]]:
        """Yields each parameter with each of its checked values: what that is called in errors, and the sample.

        All other parameters have their first value, or the value that the conditions of the parameter need.
        """
        for parameter in self:
            for value in parameter.checked_values():
                fixed = {parameter.name: value, **self._condition_values(parameter)}
                sample = self.sample(lambda p, fixed=fixed: fixed.get(p.name, p.checked_values()[0]))  # type: ignore[misc]
                if sample.get(parameter.name) == value:
                    yield f"with {value!r} of space.{parameter.name}", sample

    def first(self) -> Values:
        """Returns the sample with the first option or the lower bound of each parameter."""
        return self.sample(lambda parameter: parameter.checked_values()[0])

    def _condition_values(self, parameter: Parameter) -> Values:
        """Returns values that meet the conditions of a parameter, and the conditions of the parameters they name."""
        needed = {name: options[0] for name, options in parameter.when.items()}
        for name in parameter.when:
            needed = {**self._condition_values(self.parameters[name]), **needed}
        return needed

    def with_types(self, types: Mapping[str, str]) -> Space:
        """Returns the space with types for its ranges.

        Raises:
            ConfigError: A bound or the step of an integer range is not an integer.
        """
        typed = {p.name: replace(p, type=types.get(p.name, p.type)) for p in self}
        for parameter in typed.values():
            for bound in ("low", "high", "step"):
                value = getattr(parameter, bound)
                if parameter.type == "int" and value is not None and value != int(value):
                    raise ConfigError(
                        f"space.{parameter.name}.{bound}", f"must be an integer, as its target is; got {value!r}"
                    )
        return Space(typed)

    def origin(self, key: str) -> str:
        """Returns which parameter sets a dotted key, for errors; an empty text if none does."""
        return next((f"space.{parameter.name}" for parameter in self if key in parameter.targets()), "")

    def spec_keys(self, target: str) -> list[str]:
        """Returns the keys of the spec under which the space sets a dotted key."""
        return [parameter.spec_key(target) for parameter in self if target in parameter.targets()]

    def load(self) -> None:
        """Imports what sampling needs: nothing."""

    def dump(self) -> Values:
        """Returns the space as a spec holds it."""
        return {parameter.name: parameter.dump() for parameter in self}

    def identity(self) -> Values:
        """Returns what must stay the same while a sweep goes on, as a spec holds it."""
        return self.dump()


def _storable(value: Any) -> Any:
    """Returns a value as JSON holds it: what is no scalar as text."""
    if isinstance(value, str | int | float | None):
        return value
    try:
        return json.dumps(value)
    except TypeError:  # a date, or a key that is one
        return yaml_text(value)


def _ordered(parameters: Mapping[str, Parameter]) -> list[Parameter]:
    """Returns the parameters in the given order, but each after the parameters that its conditions name.

    Raises:
        ConfigError: A parameter depends on itself.
    """
    done: dict[str, Parameter] = {}

    def visit(parameter: Parameter, path: tuple[str, ...]) -> None:
        if parameter.name in path:
            circle = " -> ".join([*path[path.index(parameter.name) :], parameter.name])
            raise ConfigError(f"space.{parameter.name}.when", f"must not depend on itself; got {circle}")
        for parent in parameter.when:
            visit(parameters[parent], (*path, parameter.name))
        done.setdefault(parameter.name, parameter)

    for parameter in parameters.values():
        visit(parameter, ())
    return list(done.values())
