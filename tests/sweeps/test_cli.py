"""`sweeps best` on a run folder, and paths in options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps import cli
from sweeps.results.files import write_results
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
