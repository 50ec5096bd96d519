"""Every bad spec is refused before trial 0, with one line that says where, what was given and what to do.

Here the functions are called that find the error; `../test_bad_sweep_input.py` has the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bad_input.case import SWEEP, Case
from bad_input.classes import CLASSES
from bad_input.combinations import COMBINATIONS
from bad_input.counts import COUNTS
from bad_input.files import FILES
from bad_input.functions import FUNCTIONS
from bad_input.good import GOOD
from bad_input.plugins import PLUGINS
from bad_input.published import PUBLISHED
from bad_input.slots import SLOTS
from bad_input.space import CHOICES, PRESETS, RANGES, RUNS, WHEN
from bad_input.sweep import ValidSweep, check_line, valid_sweep
from bad_input.types import TYPES
from bad_input.unknown_keys import UNKNOWN_KEYS
from bad_input.values import CONSTRAINTS, OBJECTIVES, VALUES

from lit_dl.errors import ConfigError, LitError
from sweeps.cli import build_parser, read_spec
from sweeps.spec.parse_space import check_distinct_options
from sweeps.spec.preflight import check_spec
from sweeps.spec.range_types import typed_space
from sweeps.spec.spec import SweepSpec
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampling import grid_size

TABLE = {
    "files": FILES,
    "unknown_keys": UNKNOWN_KEYS,
    "types": TYPES,
    "counts": COUNTS,
    "slots": SLOTS,
    "ranges": RANGES,
    "choices": CHOICES,
    "when": WHEN,
    "presets": PRESETS,
    "runs": RUNS,
    "functions": FUNCTIONS,
    "objectives": OBJECTIVES,
    "constraints": CONSTRAINTS,
    "values": VALUES,
    "classes": CLASSES,
    "published": PUBLISHED,
    "combinations": COMBINATIONS,
}
CASES = [pytest.param(case, id=f"{group}-{case.name}") for group, cases in TABLE.items() for case in cases]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidSweep]:
    with valid_sweep(tmp_path, monkeypatch) as made:
        yield made


def read(case: Case) -> SweepSpec:
    return read_spec(build_parser().parse_args(["launch", SWEEP, *case.args]))


def check_new(case: Case) -> None:
    """What a launch does with the spec of a new run folder."""
    spec = read(case)
    check_distinct_options(spec.space)
    check_spec(spec)


@pytest.mark.parametrize("case", CASES)
def test_a_spec_is_refused(case: Case, sweep: ValidSweep) -> None:
    sweep.write(case)
    with sweep.unchanged(), pytest.raises(LitError) as caught:
        check_new(case)
    check_line(str(caught.value), case.starts, case.says)
    assert case.silent_about is None or case.silent_about not in str(caught.value)


@pytest.mark.parametrize("case", [case for case in GOOD if case.setting is None], ids=str)
def test_a_spec_is_accepted(case: Case, sweep: ValidSweep) -> None:
    sweep.write(case)
    with sweep.unchanged():
        checked = check_spec(read(case))
    assert all(metric in checked.metrics for metric in case.says)


def check_plugins(spec: SweepSpec) -> None:
    """What a launch does with sampler and pruner, once the types of ranges are known."""
    spec = replace(spec, space=typed_space(spec))
    grid_size(spec)
    dry_run_sampler(spec)


@pytest.mark.parametrize("case", PLUGINS, ids=str)
def test_a_sampler_or_pruner_is_refused(case: Case, sweep: ValidSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.write(case)
    if case.lacks:
        monkeypatch.setitem(sys.modules, case.lacks, None)
    with sweep.unchanged(), pytest.raises(ConfigError) as caught:
        check_plugins(read(case))
    check_line(str(caught.value), case.starts, case.says)
