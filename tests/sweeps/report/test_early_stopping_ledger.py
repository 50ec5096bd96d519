"""The early-stopping ledger: why each trial stopped, what it restored and saved, and the sums by parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_folders import report, result, run_folder, table_rows, write_curve

from sweeps.report.early_stopping_ledger import ledger, sums_by_parameter
from sweeps.report.sweep_data import read_sweep

SPACE: dict[str, Any] = {
    "model.lr": {"low": 1e-3, "high": 1.0, "log": True, "type": "float"},
    "trainer.max_epochs": {"choices": [10, 20]},
}


def folder(path: Path) -> Path:
    """Trials that ended in every way: patience and pruner after 4 of 10 epochs, a failure after 3 of 20."""

    def params(lr: float, epochs: int) -> dict[str, Any]:
        return {"params": {"model.lr": lr, "trainer.max_epochs": epochs}}

    rows = [
        result(0, "completed", 0.9, epochs=10, best_epoch=9, last={"val/acc": 0.89}, **params(0.002, 10)),
        result(1, "completed", 0.8, epochs=4, best_epoch=2, reason="early_stopping", **params(0.003, 10)),
        result(2, "pruned", 0.5, epochs=4, best_epoch=4, reason="the pruner stopped it", **params(0.5, 10)),
        result(3, "diverged", None, epochs=1, best_epoch=None, **params(0.9, 20)),
        result(4, "failed", None, epochs=3, best_epoch=None, **params(0.9, 20)),
        result(5, "failed", None, epochs=None, best_epoch=None, **params(0.05, 20)),
    ]
    run_dir = run_folder(path, rows, space=SPACE, base={"trainer": {"max_epochs": 5}})
    write_curve(run_dir, 1, [0.7, 0.8, 0.7, 0.6])
    return run_dir


def test_a_row_a_trial(tmp_path: Path) -> None:
    run_dir = folder(tmp_path / "r")
    checkpoint = run_dir / "trials" / "00001" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    page, text = report(run_dir)
    rows = table_rows(text, "ledger")
    assert [row["reason"] for row in rows] == ["finished", "patience", "pruner", "divergence", "failed", "failed"]
    assert [row["planned epochs"] for row in rows] == [10, 10, 10, 20, 20, 20]
    assert [row["stopped after"] for row in rows] == [10, 4, 4, 1, 3, None]
    assert [row["restored epoch"] for row in rows] == [9, 2, 4, None, None, None]
    assert [row["val/acc restored"] for row in rows] == [0.9, 0.8, 0.5, None, None, None]
    assert [row["at the end"] for row in rows] == [0.89, 0.6, None, None, None, None]  # from results, from the curve
    assert [row["epochs saved"] for row in rows] == [0, 6, 6, 19, 0, None]
    assert [row["checkpoint"] for row in rows] == ["none", "best", "none", "none", "none", "none"]
    assert "22 epochs were run and 31 saved, 58% of what was planned" in page.text


def test_sums_by_parameter(tmp_path: Path) -> None:
    sweep = read_sweep(folder(tmp_path / "r"))
    table = sums_by_parameter(sweep, ledger(sweep))
    assert table is not None
    rows = [dict(zip(table.heads, (cell.text for cell in row.cells), strict=True)) for row in table.rows]
    assert [(row["parameter"], row["value"], row["trials"]) for row in rows] == [
        ("lr", "0.002 to 0.003", "2"),  # the thirds of a logarithmic range end at 0.01 and 0.1
        ("lr", "0.05 to 0.05", "1"),
        ("lr", "0.5 to 0.9", "3"),
        ("max_epochs", "10", "3"),
        ("max_epochs", "20", "3"),
    ]
    assert (rows[3]["epochs run"], rows[3]["saved"], rows[3]["share saved"]) == ("18", "12", "40%")
    assert (rows[2]["pruner"], rows[2]["divergence"], rows[2]["failed"]) == ("1", "1", "1")


def test_no_limit_of_epochs_saves_nothing_that_is_known(tmp_path: Path) -> None:
    rows = [result(0, "completed", 0.5, epochs=4, reason="early_stopping")]
    base = {"trainer": {"max_epochs": -1}}
    sweep = read_sweep(run_folder(tmp_path / "r", rows, base=base))
    assert [(entry.planned, entry.saved) for entry in ledger(sweep)] == [(None, None)]
