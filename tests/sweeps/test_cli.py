"""`sweeps best` on a run folder, and paths in options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps import cli
from sweeps.results.files import write_results
from sweeps.results.status_file import front_lines
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import TrialFolder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder in which one trial has completed."""
    write_results(tmp_path, [TrialResult(0, "COMPLETE", "completed", "0", value=0.9)])
    objectives = [{"metric": "val/acc", "direction": "maximize"}]
    status = {"name": "s", "state": "finished", "counts": {}, "objectives": objectives, "launcher": {}}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "spec.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kept", "offered"),
    [(["best", "last"], "best.ckpt"), (["best"], "best.ckpt"), (["last"], "last.ckpt"), ([], None)],
)
def test_best_offers_the_best_checkpoint_else_the_last(
    run_dir: Path, kept: list[str], offered: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = TrialFolder(run_dir, 0)
    folder.checkpoints.mkdir(parents=True)
    for name in kept:
        (folder.checkpoints / f"{name}.ckpt").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(["best", str(run_dir), "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found.get("checkpoint") == (str(folder.checkpoints / offered) if offered else None)


def test_options_with_paths_mean_what_they_mean_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    parse = cli.build_parser().parse_args
    args = parse(["launch", "~/sweep.yaml", "--run_dir=~/run"])
    assert (args.spec, args.run_dir) == ("/home/me/sweep.yaml", "/home/me/run")
    assert parse(["report", "$HOME/run", "--output=~/a.html"]).output == "/home/me/a.html"


OBJECTIVES = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "ms", "direction": "minimize"}]
FRONT = [(0, 0.9, 5.0), (1, 0.95, 9.0), (2, 0.9, 6.0), (3, 0.5, 1.0)]


@pytest.fixture
def pareto_dir(tmp_path: Path) -> Path:
    """A run folder of a sweep with two objectives; trial 2 is the only one that another beats in both."""
    results = [
        TrialResult(n, "COMPLETE", "completed", str(n), value=acc, best={"val/acc": acc, "ms": ms})
        for n, acc, ms in FRONT
    ]
    write_results(tmp_path, results)
    status = {"name": "s", "state": "finished", "counts": {}, "objectives": OBJECTIVES, "launcher": {}}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "spec.yaml").touch()
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_best_shows_the_pareto_front_of_several_objectives(
    pareto_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "best", str(pareto_dir)).splitlines()
    assert lines[0] == "3 on the Pareto front, which no other beats in all objectives"
    trials = [line for line in lines if line.startswith("trial")]
    assert trials == [
        "trial 1: val/acc 0.95, ms 9 over 1 run(s), epoch None",
        "trial 0: val/acc 0.9, ms 5 over 1 run(s), epoch None",
        "trial 3: val/acc 0.5, ms 1 over 1 run(s), epoch None",
    ]
    found = json.loads(run(capsys, "best", str(pareto_dir), "--json"))
    assert [row["number"] for row in found["front"]] == [1, 0, 3]


def test_front_lines_are_cut_and_older_status_files_have_none() -> None:
    front = [{"number": number, "values": {"a": 0.5, "b": None}, "n": 1} for number in range(3)]
    assert front_lines({"front": front}, most=2) == [
        "3 on the Pareto front, which no other beats in all objectives:",
        "  trial 0: a 0.5, b missing",
        "  trial 1: a 0.5, b missing",
        "  and 1 more",
    ]
    assert front_lines({}) == front_lines({"front": []}) == []
