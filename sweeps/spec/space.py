"""The search space: what is varied, under which condition, and how a sample becomes keys of a run config."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lit_dl.config.keys import normal_key
from lit_dl.errors import ConfigError

Values = dict[str, Any]
When = dict[str, list[Any]]

FIELDS = {
    "range": ("low", "high", "log", "step", "type", "when"),
    "choices": ("choices", "when"),
    "presets": ("presets", "when"),
}


@dataclass(frozen=True)
class Parameter:
    """One entry of a space: exactly one of a range, choices or presets.

    Args:
        name: The dotted key that is set; for presets a free name.
        low: Least value of a range.
        high: Greatest value of a range, included.
        log: Sample the range on a logarithmic scale.
        step: Distance between the values of a range.
        type: `int` or `float`; `None` until the target's annotation is known.
        choices: Values to choose from.
        presets: Named groups of keys, one of which is chosen.
        when: The entry exists only while each of these others has one of the values listed.
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
        return self.low is not None

    def options(self) -> list[Any]:
        """What a sampler chooses from, as storage keeps it: names of presets, choices; lists as JSON text."""
        if self.presets is not None:
            return list(self.presets)
        return [self.stored(choice) for choice in self.choices or []]

    def stored(self, value: Any) -> Any:
        """A choice as storage keeps it."""
        return json.dumps(value) if isinstance(value, list | dict) else value

    def extremes(self) -> list[Any]:
        """The values that a check tries: every option, or both ends of a range."""
        return [self._number(self.low), self._number(self.high)] if self.is_range else self.options()

    def _number(self, value: float | None) -> float:
        assert value is not None
        return int(value) if self.type == "int" else float(value)

    def keys(self, value: Any) -> Values:
        """The dotted keys that a sampled value sets, and to what."""
        if self.presets is not None:
            return self.presets[value]
        if self.choices is not None:
            value = next(
                (choice for choice, option in zip(self.choices, self.options(), strict=True) if option == value), value
            )
        return {normal_key(self.name): value}

    def targets(self) -> set[str]:
        """All dotted keys that it may set."""
        return {key for values in self.presets.values() for key in values} if self.presets else {normal_key(self.name)}

    def distribution(self) -> Any:
        """The Optuna distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if not self.is_range:
            return CategoricalDistribution(self.options())
        assert self.low is not None
        assert self.high is not None
        if self.type == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def dump(self) -> Values:
        """The entry as it stands in a spec."""
        kind = "range" if self.is_range else "choices" if self.choices is not None else "presets"
        values = {name: getattr(self, name) for name in FIELDS[kind]}
        return {
            name: value for name, value in values.items() if value is not None and value is not False and value != {}
        }


class Space:
    """Parameters in an order in which every condition is known before what depends on it."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = {parameter.name: parameter for parameter in _ordered(parameters)}

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters.values())

    def __len__(self) -> int:
        return len(self.parameters)

    def __contains__(self, name: str) -> bool:
        return name in self.parameters

    @property
    def is_conditional(self) -> bool:
        return any(parameter.when for parameter in self)

    def sample(self, choose: Callable[[Parameter], Any]) -> Values:
        """A value for every parameter whose condition holds, each from `choose`."""
        values: Values = {}
        for parameter in self:
            if all(values.get(name) in options for name, options in parameter.when.items()):
                values[parameter.name] = choose(parameter)
        return values

    def keys(self, values: Values) -> Values:
        """The dotted keys that a sample sets."""
        return {key: value for name in values for key, value in self.parameters[name].keys(values[name]).items()}

    def branches(self) -> Iterator[tuple[Parameter, Values]]:
        """Samples that together try every option and both ends of every range, one at a time; at least one sample."""
        for parameter in self:
            for value in parameter.extremes():
                fixed = {parameter.name: value, **self._ancestors(parameter)}
                sample = self.sample(lambda p, fixed=fixed: fixed.get(p.name, p.extremes()[0]))  # type: ignore[misc]
                if sample.get(parameter.name) == value:
                    yield parameter, sample

    def first(self) -> Values:
        """The sample with the first option or the lower end everywhere."""
        return self.sample(lambda parameter: parameter.extremes()[0])

    def _ancestors(self, parameter: Parameter) -> Values:
        needed = {name: options[0] for name, options in parameter.when.items()}
        for name in parameter.when:
            needed = {**self._ancestors(self.parameters[name]), **needed}
        return needed

    def with_types(self, types: Mapping[str, str]) -> Space:
        """The same space with the types of its ranges known.

        Raises:
            ConfigError: An integer range with a bound that is none.
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

    def dump(self) -> Values:
        """The space as it stands in a spec."""
        return {parameter.name: parameter.dump() for parameter in self}


def _ordered(parameters: Mapping[str, Parameter]) -> list[Parameter]:
    """Parents first, otherwise as given."""
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
