from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_dl.errors import StorageError
from sweeps.results import counted, ranking, read_results, read_status, write_results
from sweeps.spec.objective import Objective

ACC = [Objective("val/acc", "maximize")]
LOSS_AND_TIME = [Objective("val/loss", "minimize"), Objective("time", "minimize")]


def row(
    number: int, value: float | None, config_id: str | None = None, state: str = "COMPLETE", **more: object
) -> dict[str, object]:
    return {"number": number, "state": state, "value": value, "config_id": config_id or str(number), **more}


def test_completed_trials_are_ranked_and_no_others() -> None:
    rows = [row(0, 0.9), row(1, 0.95), row(2, 0.99, state="PRUNED"), row(3, None, state="FAIL")]
    assert [entry["number"] for entry in ranking(rows, ACC)] == [1, 0]


def test_configurations_rank_by_the_mean_over_their_seeds() -> None:
    rows = [row(0, 0.99, "a"), row(1, 0.91, "a"), row(2, 0.96, "b"), row(3, 0.96, "b")]
    best, second = ranking(rows, ACC)
    assert (best["config_id"], best["mean"], best["deviation"], best["n"]) == ("b", 0.96, 0.0, 2)
    assert (second["number"], second["numbers"]) == (0, [0, 1])
    assert second["mean"] == pytest.approx(0.95)
    assert second["deviation"] == pytest.approx(0.08 / 2**0.5)


def test_with_several_objectives_the_undominated_come_first() -> None:
    points = {0: (0.5, 9.0), 1: (0.1, 5.0), 2: (0.4, 1.0), 3: (0.5, 8.0)}
    rows = [row(n, a, **{"metrics.val/loss": a, "metrics.time": b}) for n, (a, b) in points.items()]
    assert [entry["number"] for entry in ranking(rows, LOSS_AND_TIME)] == [1, 2, 0, 3]


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 1.0, math.nan])] * 3), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(points: list[tuple[float, ...]]) -> None:
    names = ("val/acc", "size", "loss")
    objectives = [Objective("val/acc", "maximize"), Objective("size", "minimize"), Objective("loss", "minimize")]
    rows = [
        {**row(number, point[0]), **{f"metrics.{name}": value for name, value in zip(names, point, strict=True)}}
        for number, point in enumerate(points)
    ]
    worst = [-math.inf, math.inf, math.inf]  # a figure that is missing is the worst
    full = [[w if math.isnan(value) else value for value, w in zip(point, worst, strict=True)] for point in points]

    def beats(a: list[float], b: list[float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2] and a != b

    expected = {number for number, point in enumerate(full) if not any(beats(other, point) for other in full)}
    assert {entry["number"] for entry in ranking(rows, objectives) if entry["front"]} == expected


def test_the_table_reads_back_with_its_types_and_without_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").touch()
    rows = [
        row(0, 0.5, outcome="completed", **{"params.bias": True, "params.width": "[30, 10]", "metrics.val/acc": 0.5}),
        row(1, None, state="FAIL", reason='ValueError: "a", b', **{"params.lr": 1e-05}),
    ]
    write_results(tmp_path / "results.csv", rows)
    first, second = read_results(tmp_path)
    assert first == {k: v for k, v in rows[0].items() if v is not None}
    assert second == {k: v for k, v in rows[1].items() if v is not None}
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.startswith("number,state,outcome,reason,value,best_epoch,epochs,seed,elapsed_s,")
    assert header.endswith("params.bias,params.lr,params.width,metrics.val/acc")


def test_a_folder_that_holds_no_sweep_is_refused(tmp_path: Path) -> None:
    for read in (read_results, read_status):
        with pytest.raises(StorageError, match=f"{tmp_path}: must be the run folder of a sweep"):
            read(tmp_path)


def test_counts_are_said_in_words() -> None:
    status = {"outcomes": {"completed": 3, "out_of_memory": 1}, "counts": {"RUNNING": 2, "WAITING": 0}}
    assert counted(status) == "3 completed, 1 out of memory, 2 running"
    assert counted({"outcomes": {}, "counts": {"RUNNING": 0, "WAITING": 0}}) == "no trial yet"


def test_a_configuration_whose_other_seeds_were_lost_stands_below_the_whole_ones() -> None:
    whole = [row(n, 0.97, "whole") for n in range(3)]
    lucky = [row(3, 0.99, "lucky"), row(4, None, "lucky", state="PRUNED"), row(5, None, "lucky", state="FAIL")]
    assert [entry["config_id"] for entry in ranking([*whole, *lucky], ACC)] == ["whole", "lucky"]
