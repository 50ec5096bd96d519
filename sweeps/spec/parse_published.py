"""Parses the published figures and claims of a spec, and finds every error that shows without a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lit_dl.config.keys import get_key
from lit_dl.errors import ConfigError, suggest, unknown_name
from sweeps.spec.objective import DIRECTIONS
from sweeps.spec.published import PublishedClaim, PublishedTable, Quantity, usual_direction
from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.spec.value_checks import finite_number, mapping, not_negative, one_of, text

_TABLE_KEYS = ("title", "source", "metric", "at", "tolerance", "values")
_CLAIM_KEYS = ("claim", "metric", "at", "better", "worse", "direction", "same", "within")


def parse_published(given: object, runs: Collection[str]) -> list[PublishedTable]:
    """Returns the published tables of a spec.

    Args:
        given: The value of `published`: a table, a list of tables, or `None`.
        runs: Names of the `runs` of the spec.

    Raises:
        ConfigError: An entry cannot be compared with a run.
    """
    if isinstance(given, Mapping):
        return [_table(given, "published", runs)]
    return [_table(entry, f"published[{number}]", runs) for number, entry in enumerate(_list(given, "published"))]


def parse_claims(given: object, runs: Collection[str]) -> list[PublishedClaim]:
    """Returns the published claims of a spec.

    Args:
        given: The value of `claims`: a list of claims, or `None`.
        runs: Names of the `runs` of the spec.

    Raises:
        ConfigError: A claim cannot be tested on the runs.
    """
    return [_claim(entry, f"claims[{number}]", runs) for number, entry in enumerate(_list(given, "claims"))]


def check_readable(spec: SweepSpec) -> None:
    """Refuses figures and claims about values that the runs of the spec will not have.

    Raises:
        ConfigError: A metric of the test set that not every run is evaluated on, or an epoch after the last of a run.
    """
    for key, quantity, runs in spec.quantities():
        if quantity.is_test and spec.evaluate_test != "all":
            problem = f"needs evaluate_test: all, to have {quantity.metric} of every run; got {spec.evaluate_test}"
            raise ConfigError(f"{key}.metric", problem)
        for run in runs if quantity.has_epochs and isinstance(quantity.at, int) else []:
            last = spec.runs[run].get("trainer.max_epochs", get_key(spec.base, "trainer.max_epochs"))
            if isinstance(last, int) and 0 < last < int(quantity.at):
                raise ConfigError(f"{key}.at", f"must be an epoch of {run}, which has {last}; got {quantity.at}")


def _list(given: object, key: str) -> list[object]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise ConfigError(key, f"must be a list of mappings; got {given!r}")
    return given


def _table(given: object, key: str, runs: Collection[str]) -> PublishedTable:
    entry = _entry(given, key, _TABLE_KEYS, ("metric", "tolerance", "values"))
    values = entry["values"]
    if not isinstance(values, Mapping) or not values:
        raise ConfigError(
            f"{key}.values", f"must be a mapping of at least one name of runs to a number; got {values!r}"
        )
    return PublishedTable(
        _quantity(entry, key),
        not_negative(entry["tolerance"], f"{key}.tolerance"),
        {
            _run_name(run, f"{key}.values.{run}", runs): finite_number(v, f"{key}.values.{run}")
            for run, v in values.items()
        },
        text(entry.get("title", ""), f"{key}.title"),
        text(entry.get("source", ""), f"{key}.source"),
    )


def _claim(given: object, key: str, runs: Collection[str]) -> PublishedClaim:
    entry = _entry(given, key, _CLAIM_KEYS, ("claim", "metric"))
    comparison = sorted({"better", "worse", "direction"} & set(entry))
    if "same" in entry or "within" in entry:
        if comparison:
            raise ConfigError(f"{key}.{comparison[0]}", "does not go with same and within; keep one kind of claim")
        return _claim_of_equality(entry, key, runs)
    if not comparison:
        raise ConfigError(key, "must say which runs it is about: better and worse, or same and within")
    return _claim_of_difference(entry, key, runs)


def _claim_of_equality(entry: Values, key: str, runs: Collection[str]) -> PublishedClaim:
    words, quantity = text(entry["claim"], f"{key}.claim"), _quantity(entry, key)
    _check_given(entry, key, ("same", "within"))
    same = _run_names(entry["same"], f"{key}.same", runs)
    if len(same) != 2:
        raise ConfigError(f"{key}.same", f"must be two names of runs; got {entry['same']!r}")
    return PublishedClaim(words, quantity, same[:1], same[1:], within=not_negative(entry["within"], f"{key}.within"))


def _claim_of_difference(entry: Values, key: str, runs: Collection[str]) -> PublishedClaim:
    words, quantity = text(entry["claim"], f"{key}.claim"), _quantity(entry, key)
    _check_given(entry, key, ("better", "worse"))
    better, worse = (_run_names(entry[side], f"{key}.{side}", runs) for side in ("better", "worse"))
    if set(better) & set(worse):
        raise ConfigError(f"{key}.worse", f"must be other runs than better; got {entry['worse']!r}")
    direction = one_of(entry.get("direction", usual_direction(quantity.metric)), f"{key}.direction", DIRECTIONS)
    return PublishedClaim(words, quantity, better, worse, direction)


def _entry(given: object, key: str, known: tuple[str, ...], needed: tuple[str, ...]) -> Values:
    """Returns a mapping that has only known keys, and all the needed ones."""
    entry = mapping(given, key)
    for name in entry:
        if name not in known:
            hint = suggest(str(name), known) or f"; known here: {', '.join(known)}"
            raise ConfigError(f"{key}.{name}", f"no such key{hint}")
    _check_given(entry, key, needed)
    return entry


def _check_given(entry: Mapping[str, object], key: str, needed: tuple[str, ...]) -> None:
    for name in needed:
        if entry.get(name) is None:
            raise ConfigError(f"{key}.{name}", "must be given; it has no default")


def _quantity(entry: Values, key: str) -> Quantity:
    metric, at = entry["metric"], entry.get("at", "last")
    if not isinstance(metric, str) or not metric:
        raise ConfigError(f"{key}.metric", f"must be the name of a logged metric or of a result; got {metric!r}")
    whole = isinstance(at, int) and not isinstance(at, bool) and at >= 1
    if not whole and at not in ("last", "best"):
        raise ConfigError(f"{key}.at", f"must be last, best, or the number of an epoch, from 1; got {at!r}")
    return Quantity(metric, at)


def _run_names(given: object, key: str, runs: Collection[str]) -> list[str]:
    names = given if isinstance(given, list) else [given]
    if not names:
        raise ConfigError(key, "must name at least one of runs; got []")
    found = [_run_name(name, f"{key}[{i}]" if isinstance(given, list) else key, runs) for i, name in enumerate(names)]
    if len(set(found)) < len(found):
        raise ConfigError(key, f"must not name a run twice; got {given!r}")
    return found


def _run_name(name: object, key: str, runs: Collection[str]) -> str:
    if not runs:
        raise ConfigError("runs", f"must be given, as {key} is about one of them; got none")
    if not isinstance(name, str) or name not in runs:
        raise unknown_name(key, name, runs)
    return name
