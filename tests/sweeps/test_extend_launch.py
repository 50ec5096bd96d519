"""`sweeps launch --extend` as a user runs it: killed, launched again, and what the other commands show then."""

from __future__ import annotations

import json
import time
from pathlib import Path

from forked import Forked, run_python
from paths import REPOSITORY
from sweep_specs import write_spec

from sweeps.results.files import read_results
from sweeps.trial_folder import TrialFolder

LONG = ("trainer.max_epochs=4", "early_stopping.patience=null")


def launch(folder: Path, spec: Path, *words: object) -> Forked:
    options = ("--run_dir", folder / "run", "--workers", 1, "--wandb", "disabled", "--set", *LONG)
    return Forked(["-m", "sweeps", "launch", spec, *options, *words], folder)


def finish(process: Forked) -> str:
    process.wait(300)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def wait_for_epoch(folder: Path, number: int, epoch: int, process: Forked) -> None:
    path, deadline = TrialFolder(folder / "run", number).metrics, time.monotonic() + 200
    while not (path.exists() and len(path.read_text().splitlines()) > epoch):
        assert process.poll() is None, process.stdout + process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sweeps(*words: object) -> str:
    done = run_python(["-m", "sweeps", *words], REPOSITORY)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_extensions_go_on_after_kills_and_every_command_shows_the_newest(tmp_path: Path) -> None:
    spec, run_dir = write_spec(tmp_path, n_trials=2, check="parse"), tmp_path / "run"
    finish(launch(tmp_path, spec))
    extend = ("--extend", "+12")
    process = launch(tmp_path, spec, *extend)
    wait_for_epoch(tmp_path, 2, 5, process)
    process.kill()
    process.wait(60)
    output = finish(launch(tmp_path, spec, *extend))
    assert "extend: goes on; 2 of 2 trials have not ended" in output
    assert "2 extended, 2 completed" in output
    rows = read_results(run_dir)
    assert [(row.number, row.extends, row.epochs) for row in rows] == [
        (0, None, 4),
        (1, None, 4),
        (2, 0, 16),
        (3, 1, 16),
    ]
    assert rows[2].attempt == 2
    assert "2 extended, 2 completed of 2 and 2 extensions" in sweeps("status", run_dir)
    best = json.loads(sweeps("best", run_dir, "--json"))
    assert best["number"] in (2, 3)
    assert "best.test/acc" in best
    sweeps("report", run_dir)
    page = (run_dir / "report.html").read_text()
    assert "2 of 2 trials have ended, and 2 extensions" in page
    assert "trial 2 goes on from it to epoch 16" in page
    again = sweeps("launch", run_dir, "--workers", 1, "--wandb", "disabled", "--extend", 16)
    assert "extend: nothing is left to do" in again
    assert len(read_results(run_dir)) == 4
