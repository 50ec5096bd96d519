"""A short version of what `python tests/faults` does, and what it would notice."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacked import AttackedSweep, Setting
from checks import told_twice
from forked import run_python
from run import Attack, compare, main, survive, write_spec
from wandb_server import WandbServer

from lit_dl.run.epoch_rows import read_rows
from sweeps.results.files import read_results
from sweeps.trial_folder import TrialFolder

pytestmark = pytest.mark.faults
TRIALS, KILLS = 6, 3


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep without a fault."""
    folder = tmp_path_factory.mktemp("reference")
    spec = write_spec(folder, "standin", TRIALS)
    done = run_python(
        ["-m", "sweeps", "launch", spec, "--run_dir", folder / "run", "--workers", 2, "--wandb", "offline"],
        folder,
        {**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_sweep_whose_processes_are_killed_leaves_what_one_without_a_fault_does(
    tmp_path: Path, reference: Path
) -> None:
    plan = Attack(KILLS, ["launcher", "worker", "suspend"], seed=3)
    spec = write_spec(tmp_path, "standin", TRIALS)
    summary, outcome = survive(tmp_path, spec, Setting(), plan, TRIALS, reference)
    assert outcome.faults == []
    assert len(outcome.made) == KILLS
    assert "lost 0, doubled 0" in summary


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def change_a_digit(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[:-2] + str((int(text[-2]) + 1) % 10) + "\n")


def leave_a_part(path: Path) -> None:
    path.with_name(f".{path.name}.123").write_text("{")


@pytest.mark.parametrize(
    ("damage", "name", "noticed"),
    [
        (cut_off, "trials/00003/checkpoints/last.ckpt", "last.ckpt: "),
        (cut_off, "status.json", "status.json: "),
        (cut_off, "results.csv", "results.csv: "),
        (cut_off, "results.jsonl", "results.jsonl: "),
        (cut_off, "study.journal", "study.journal: "),
        (change_a_digit, "trials/00003/metrics.csv", "trial 3: metrics.csv differs"),
        (leave_a_part, "status.json", "left by a process that died"),
        (lambda path: shutil.rmtree(path), "trials/00003/wandb", "trial 3: W&B's files lack"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, reference: Path, damage, name: str, noticed: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(reference, tmp_path / "sweep")
    damage(tmp_path / "sweep" / "run" / name)
    whole, damaged = (
        AttackedSweep(folder / "standin.yaml", folder, Setting()) for folder in (reference, tmp_path / "sweep")
    )
    assert compare(whole, whole, TRIALS) == ([], [])
    lost, other = compare(damaged, whole, TRIALS)
    assert any(noticed in found for found in lost + other)


def test_a_trial_that_is_lost_or_told_twice_is_noticed(tmp_path: Path, reference: Path) -> None:
    whole = AttackedSweep(reference / "standin.yaml", reference, Setting())
    lost, _ = compare(whole, whole, TRIALS + 1)
    assert any(f"not 0 to {TRIALS}" in found for found in lost)
    journal = tmp_path / "study.journal"
    lines = (reference / "run" / "study.journal").read_text().splitlines(keepends=True)
    ends = [line for line in lines if '"op_code":6' in line and '"values":[' in line]
    journal.write_text("".join([*lines, ends[0]]))
    assert len(list(told_twice(journal))) == 1


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server
    assert server.failures == []


def test_online_a_trial_whose_worker_is_killed_goes_on_as_one_run(tmp_path: Path, server: WandbServer) -> None:
    setting = Setting(workers=1, wandb="online", environment=server.environment())
    sweep = AttackedSweep(write_spec(tmp_path, "standin", 2), tmp_path, setting)
    killed, done = None, []
    try:
        while not sweep.tend():
            time.sleep(0.02)
            running = [trial for trial in sweep.trials() if trial.state.name == "RUNNING"]
            if killed is None and running and len(running[0].intermediate_values) >= 3:
                killed = running[0].number
                done = read_rows(TrialFolder(sweep.run_dir, killed).metrics)[:2]
                sweep.kill(sweep.victims("worker")[0])
        assert sweep.wait_for_the_end(60) == []
    finally:
        sweep.close()
    assert killed is not None
    rows = read_results(sweep.run_dir)
    assert {row.number: row.attempt for row in rows} == {number: 1 + (number == killed) for number in range(2)}
    assert sorted(name.rpartition("-")[2] for name in server.runs) == ["0", "1"]
    for name, run in server.runs.items():
        folder = TrialFolder(sweep.run_dir, int(name.rpartition("-")[2])).path
        for metric in ("train_loss", "valid_loss"):
            logged = [(line["epoch"], line[metric]) for line in run.history if metric in line]
            assert logged == [(row["epoch"], pytest.approx(row[metric])) for row in read_rows(folder / "metrics.csv")]
        assert run.exit_codes[-1] == 0
    # Seconds never come out the same twice: these epochs were not trained again.
    assert read_rows(TrialFolder(sweep.run_dir, killed).metrics)[:2] == done


@pytest.mark.parametrize(
    "words",
    ["--nonsense 3", "--trials many", "--engine rey", "--trials 20 --kills", "--storage sqlite"],
)
def test_a_wrong_option_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*words.split(), "--dry_run"])
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trials", "20", "--kills", "3", "--devices", "2", "--dry_run"]) == 0
    assert "20 trials of standin on local and journal; 3 of ['launcher'" in capsys.readouterr().out
