"""`results.jsonl` and `results.csv`: the results of all finished trials, for programs and for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from lit_dl.errors import StorageError
from lit_dl.files import write_text
from sweeps.results.csv_reader import read_csv
from sweeps.results.trial_result import COLUMNS, SCHEMA, TrialResult

RESULTS_JSONL = "results.jsonl"
RESULTS_CSV = "results.csv"


def write_results(run_dir: Path, results: Sequence[TrialResult]) -> None:
    """Writes both files. Each is replaced as a whole.

    `results.jsonl` has one JSON object a trial and keeps the types of all values. `results.csv` has the same as
    columns; a missing value is an empty cell.

    Raises:
        OSError: The disk is full.
    """
    lines = [json.dumps({"schema": SCHEMA, **vars(result)}) for result in results]
    write_text(run_dir / RESULTS_JSONL, "".join(f"{line}\n" for line in lines))
    write_text(run_dir / RESULTS_CSV, _csv_text(results))


def _csv_text(results: Sequence[TrialResult]) -> str:
    rows = [result.to_row() for result in results]
    groups = ("params.", "best.", "last.")
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    columns = [name for name in names if not name.startswith(groups)]
    columns += [name for group in groups for name in sorted(names) if name.startswith(group)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_results(run_dir: Path) -> list[TrialResult]:
    """Returns the results in a run folder, in the order of the trials' numbers; none before the first has finished.

    Raises:
        StorageError: The folder is not the run folder of a sweep, or the file is damaged.
    """
    if not (run_dir / "spec.yaml").is_file():
        raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no spec.yaml")
    if (run_dir / RESULTS_JSONL).is_file():
        return _read_jsonl(run_dir / RESULTS_JSONL)
    if (run_dir / RESULTS_CSV).is_file():
        return read_csv(run_dir / RESULTS_CSV, run_dir / "spec.yaml")
    return []


def _read_jsonl(path: Path) -> list[TrialResult]:
    try:
        values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [TrialResult(**{name: v for name, v in value.items() if name != "schema"}) for value in values]
    except (ValueError, TypeError, AttributeError):
        raise StorageError(
            f"{path}: must be what sweeps launch writes; damaged; launch the sweep again to have it written"
        ) from None
