"""What the sampler of a sweep does not do, although the spec asks for it: said at the launch."""

from __future__ import annotations

from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from sweeps.spec.spec import SweepSpec
from sweeps.study.sampling import sampler_class

_STEERED_BY_CONSTRAINTS = (TPESampler, GPSampler, NSGAIISampler, NSGAIIISampler)
_LEARNS_NOTHING = "learns from no trial, so older trials change nothing"
# Optuna offers no way that holds for every space: the genetic samplers know the generation of their own trials alone,
# and `source_trials` of CMA-ES demands a space without choices or conditions.
_WARM_START: dict[type[BaseSampler], str] = {
    NSGAIISampler: "breeds from its own trials alone and ignores older ones; TPESampler and GPSampler learn from them",
    NSGAIIISampler: "breeds from its own trials alone and ignores older ones; TPESampler and GPSampler learn from them",
    CmaEsSampler: "counts older trials as its first, random ones, and learns nothing else from them",
    RandomSampler: _LEARNS_NOTHING,
    QMCSampler: _LEARNS_NOTHING,
}


def sampler_notes(spec: SweepSpec) -> list[str]:
    """Returns a line for each thing that the sampler of a spec does not do: learn from older trials, heed constraints.

    Raises:
        ConfigError: There is no such sampler.
    """
    outer = sampler_class(spec)
    classes = [sampler.cls for sampler in outer]
    notes = []
    for known, text in _WARM_START.items() if spec.warm_start else ():
        if issubclass(outer.cls, known):
            notes.append(f"warm start: {outer.cls.__name__} {text}")
    is_known = all(cls.__module__.startswith("optuna.") for cls in classes)
    if spec.constraints and is_known and not any(issubclass(cls, _STEERED_BY_CONSTRAINTS) for cls in classes):
        notes.append(
            f"constraints: {outer.cls.__name__} does not avoid what violates them; they decide the ranking only"
        )
    return notes
