"""Decides whether the trials of a sweep stop early, where its spec does not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lit_dl.config.keys import get_key
from lit_dl.config.overlay import is_ours
from sweeps.spec.spec import SweepSpec


def decide_early_stopping(spec: SweepSpec) -> SweepSpec:
    """Returns a spec whose base switches early stopping off, if no key of it is set and a module is not one of ours.

    A user of a module of their own wrote a number of epochs and expects so many.
    """
    if _is_mentioned(spec) or all(is_ours({"model": {"class_path": path}}) for path in _modules(spec)):
        return spec
    return replace(spec, base={**spec.base, "early_stopping": {"patience": None}})


def early_stopping_text(given: SweepSpec, resolved: SweepSpec) -> str:
    """Returns a line about the early stopping of the trials.

    Args:
        given: The spec as the user wrote it.
        resolved: The spec after the checks.
    """
    first = resolved.configuration(resolved.space.first(), None, 0)["early_stopping"]
    if first.get("patience", 5) is None and not _is_mentioned(given):
        return "early stopping: off, as a module is not one of ours; early_stopping.patience in the base switches it on"
    if first.get("patience", 5) is None:
        return "early stopping: off"
    return f"early stopping: after {first.get('patience', 5)} epochs in which {first['monitor']} has not improved"


def _is_mentioned(spec: SweepSpec) -> bool:
    keys = [*spec.base, *(key for parameter in spec.space for key in parameter.targets())]
    keys += [key for run in spec.runs for key in spec.overlay_keys({}, run)]
    return any(key.split(".")[0] == "early_stopping" for key in keys)


def _modules(spec: SweepSpec) -> Iterator[str | None]:
    """Yields the import paths of the modules of all trials; `None` for the default."""
    key = "model.class_path"
    keys = [spec.overlay_keys(values, None) for _, values in spec.space.branches()]
    keys += [spec.overlay_keys({}, run) for run in spec.runs]
    yield get_key(spec.base, key)
    yield from (values[key] for values in keys if key in values)
