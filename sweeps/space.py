"""The search space: what is varied, under which condition, and how a sample becomes keys of a run config."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lit_dl.config import leaves, normal_key
from lit_dl.errors import ConfigError, suggest

Values = dict[str, Any]
When = dict[str, list[Any]]

_FIELDS = {
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
        values = {name: getattr(self, name) for name in _FIELDS[kind]}
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


def parse_space(given: object) -> Space:
    """A space from its YAML.

    Raises:
        ConfigError: An entry that cannot be sampled, an unknown condition, or conditions in a circle.
    """
    if not isinstance(given, Mapping):
        raise ConfigError("space", f"must be a mapping of keys to ranges, choices or presets; got {given!r}")
    parameters = {name: _parse_parameter(str(name), entry) for name, entry in given.items()}
    for parameter in parameters.values():
        for parent, options in parameter.when.items():
            _check_condition(parameter.name, parent, options, parameters)
    space = Space(parameters)
    _check_overlaps(space)
    return space


def _parse_parameter(name: str, entry: object) -> Parameter:
    key = f"space.{name}"
    if not isinstance(entry, Mapping):
        raise ConfigError(key, f"must be a mapping with low and high, choices, or presets; got {entry!r}")
    kinds = [
        kind
        for kind, sign in (("range", {"low", "high"}), ("choices", {"choices"}), ("presets", {"presets"}))
        if sign & set(entry)
    ]
    if len(kinds) != 1:
        raise ConfigError(
            key,
            f"must have exactly one of low and high, choices, presets; got {', '.join(map(str, entry)) or 'nothing'}",
        )
    for field_name in entry:
        if field_name not in _FIELDS[kinds[0]]:
            known = _FIELDS[kinds[0]]
            raise ConfigError(
                f"{key}.{field_name}",
                f"no such key for {kinds[0]}, which has {', '.join(known)}{suggest(str(field_name), known)}",
            )
    values = dict(entry)
    when = values.pop("when", {})
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when", f"must be a mapping of keys of the space to lists of values; got {when!r}")
    conditions = {str(k): list(v) if isinstance(v, list) else [v] for k, v in when.items()}
    for parent, options in conditions.items():
        if not options:
            raise ConfigError(f"{key}.when.{parent}", "must list at least one value; got []")
    {"range": _check_range, "choices": _check_choices, "presets": _check_presets}[kinds[0]](key, values)
    if kinds[0] == "presets":
        values["presets"] = {
            str(k): {normal_key(n): v for n, v in leaves(p or {})} for k, p in values["presets"].items()
        }
    return Parameter(name, when=conditions, **values)


def _check_range(key: str, values: Values) -> None:
    for bound in ("low", "high"):
        value = values.get(bound)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{key}.{bound}", f"must be a finite number; got {value!r}")
    low, high, log, step = values["low"], values["high"], values.get("log", False), values.get("step")
    if low > high:
        raise ConfigError(f"{key}.low", f"must be at most high={high!r}; got {low!r}")
    if not isinstance(log, bool):
        raise ConfigError(f"{key}.log", f"must be true or false; got {log!r}")
    if log and low <= 0:
        raise ConfigError(f"{key}.low", f"must be above 0 on a log scale; got {low!r}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf):
        raise ConfigError(f"{key}.step", f"must be a finite number above 0; got {step!r}")
    if log and step is not None:
        raise ConfigError(f"{key}.step", f"does not go with log: true; got {step!r}; leave one of the two out")
    if values.get("type") not in (None, "int", "float"):
        raise ConfigError(f"{key}.type", f"must be int or float; got {values['type']!r}")


def _check_choices(key: str, values: Values) -> None:
    choices = values["choices"]
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}.choices", f"must be a list of at least one value; got {choices!r}")
    texts = [json.dumps(choice, default=str) for choice in choices]
    for number, text in enumerate(texts):
        if text in texts[:number]:
            raise ConfigError(f"{key}.choices", f"must not hold a value twice; {choices[number]!r} does")


def _check_presets(key: str, values: Values) -> None:
    presets = values["presets"]
    if not isinstance(presets, Mapping) or not presets:
        raise ConfigError(f"{key}.presets", f"must be a mapping of at least one name to keys; got {presets!r}")
    for name, preset in presets.items():
        if preset is not None and not isinstance(preset, Mapping):
            raise ConfigError(f"{key}.presets.{name}", f"must be a mapping of dotted keys to values; got {preset!r}")


def _check_condition(name: str, parent: str, options: list[Any], parameters: Mapping[str, Parameter]) -> None:
    key = f"space.{name}.when"
    if parent not in parameters:
        raise ConfigError(f"{key}.{parent}", f"must be another key of the space{suggest(parent, parameters)}")
    if parameters[parent].is_range:
        raise ConfigError(f"{key}.{parent}", "must be a key with choices or presets; this one is a range")
    known = parameters[parent].options()
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{key}.{parent}",
                f"{option!r} is not one of {', '.join(map(str, known))}{suggest(str(option), map(str, known))}",
            )


def _check_overlaps(space: Space) -> None:
    owners: dict[str, str] = {}
    for parameter in space:
        for target in parameter.targets():
            if target in owners:
                raise ConfigError(
                    f"space.{parameter.name}", f"sets {target}, and so does space.{owners[target]}; keep one"
                )
            owners[target] = parameter.name


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
