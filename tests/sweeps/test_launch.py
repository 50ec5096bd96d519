"""Whole sweeps as a user runs them: real processes, interrupted and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from forked import Forked, run_python
from paths import REPOSITORY
from stand_in_workers import waits_for_lock
from sweep_specs import resolved_spec, tiny_spec, write_spec

from lit_dl.config.yaml_io import load_yaml
from lit_dl.tracking import Mode, logged_rows
from sweeps.launcher import LaunchOptions
from sweeps.launcher import launch as run
from sweeps.results.files import read_results, write_results
from sweeps.results.trial_result import TrialResult
from sweeps.spec.preflight import Checked
from sweeps.study.liveness import machine
from sweeps.study.locks import locked
from sweeps.study.storage import open_storage
from sweeps.study.study import SharedStudy

QUICK = {"check": "parse"}
LONG = {"trainer.max_epochs": 25, "early_stopping.patience": None}


OWN_FORK_SERVER = """
from sweeps import cli
from sweeps.processes import fork_server
fork_server._server = None
cli.main()
"""
"""A launcher that does not share the fork server of the tests, to see that its own ends with it."""


def sweeps(*words: object) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "sweeps", *words], REPOSITORY)


def launch(folder: Path, spec: Path, *words: object, program: tuple[str, str] = ("-m", "sweeps")) -> Forked:
    options = ("--run_dir", folder / "run", "--workers", 2, "--wandb", "disabled")
    return Forked([*program, "launch", spec, *options, *words], folder)


def settings(values: dict[str, Any]) -> list[str]:
    return ["--set", *(f"{key}={'null' if value is None else value}" for key, value in values.items())]


def finish(process: Forked, timeout: float = 400) -> str:
    process.wait(timeout)
    return process.stdout + process.stderr


def wait_until(condition: Callable[[], Any], process: Forked, timeout: float = 300) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)
    return found


def workers() -> list[psutil.Process]:
    """The workers of the launcher that runs; they and it are children of the same fork server."""
    return [process for process in psutil.Process().children(recursive=True) if process.name().startswith("worker-")]


def trials(folder: Path, name: str = "tiny") -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=name, storage=open_storage(folder / "run", None))
    return study.get_trials(deepcopy=False)


def epochs_seen(folder: Path, at_least: int) -> bool:
    """Whether two trials run and one of them has logged so many epochs."""
    tables = list((folder / "run" / "trials").glob("*/metrics.csv"))
    return len(tables) >= 2 and any(len(path.read_text().splitlines()) > at_least for path in tables)


def test_a_sweep_of_a_foreign_module_leaves_everything(tmp_path: Path) -> None:
    spec = REPOSITORY / "examples" / "two_moons.yaml"
    options = ("--run_dir", tmp_path / "run", "--wandb", "offline", "--workers", 2, "--n_trials", 4)
    done = sweeps("launch", spec, *options)
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "run")
    assert [row.number for row in rows] == [0, 1, 2, 3]
    best = json.loads(sweeps("best", tmp_path / "run", "--json").stdout)
    assert best["value"] == min(row.value for row in rows if row.is_completed)
    assert "best.test_error" in best
    assert Path(best["checkpoint"]).is_file()
    status = json.loads(sweeps("status", tmp_path / "run", "--json").stdout)
    assert (status["state"], sum(status["counts"].values())) == ("finished", 4)
    for row in rows:
        (segment,) = (tmp_path / "run" / "trials" / f"{row.number:05d}").glob("wandb/offline-run-*/run-*.wandb")
        assert any("valid_error" in logged for logged in logged_rows(segment))
    assert sweeps("replay", tmp_path / "run", "--trial", 1).returncode == 0


def test_a_sweep_of_the_example_of_optimizers(tmp_path: Path) -> None:
    spec = REPOSITORY / "examples" / "any_optimizer.yaml"
    done = sweeps("launch", spec, "--run_dir", tmp_path / "run", "--wandb", "disabled", "--set", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "run")
    assert [row.outcome for row in rows] == ["completed"] * 8
    for row in rows:
        assert ("model.optimizer.momentum" in row.params) == row.params["model.optimizer.class_path"].endswith("SGD")
        assert ("model.scheduler.gamma" in row.params) == ("ExponentialLR" in row.params["model.scheduler"])
    assert sweeps("replay", tmp_path / "run", "--trial", 1).returncode == 0


def test_a_sweep_over_a_function_with_a_constraint_goes_on_and_replays(tmp_path: Path) -> None:
    spec, run_dir = REPOSITORY / "examples" / "define_by_run.yaml", tmp_path / "run"
    options = ("--run_dir", run_dir, "--wandb", "disabled", *settings({"trainer.max_epochs": 1, "data.points": 200}))
    for n_trials in (2, 4):
        done = sweeps("launch", spec, *options, "--n_trials", n_trials)
        assert done.returncode == 0, done.stderr
    assert (
        "examples.define_by_run" not in sys.modules
    )  # nor does a launcher import it: its check is a process of its own
    rows = read_results(run_dir)
    assert [row.state for row in rows] == ["COMPLETE"] * 4
    for row in rows:
        assert set(row.params) - {"dropout"} == {"batch_size", "hidden", "lr_per_sample"}
        config = load_yaml(run_dir / "trials" / f"{row.number:05d}" / "config.yaml")
        assert config["model"]["init_args"]["lr"] == row.params["batch_size"] * row.params["lr_per_sample"]
        assert bool(row.infeasible) == (row.parameters > 700)
    assert sweeps("replay", run_dir, "--trial", 1).returncode == 0


def test_a_sweep_that_is_good_enough_stops_and_says_why(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, stop={"value": 0.0}, n_trials=6, **QUICK)
    page = tmp_path / "run" / "report.html"
    for report in (f"report {page}", "no report was written (StorageError: "):  # the second launch starts no trial
        process = launch(tmp_path, spec, "--workers", 1)
        output = finish(process)
        assert process.returncode == 0, output
        assert "stopped: val/acc has reached 0 (trial 0: " in output
        assert "it goes on when stop is changed in the spec, or left out" in output
        assert [trial.number for trial in trials(tmp_path)] == [0]
        assert report in output
        if page.is_file():
            assert "stopped: val/acc has reached 0 (trial 0" in page.read_text()
            page.unlink()
            page.mkdir()  # a report that cannot be written fails no sweep
    assert any(name.startswith("test/") for name in read_results(tmp_path / "run")[0].best)
    assert "stopped: val/acc has reached 0 (trial 0" in sweeps("status", tmp_path / "run").stdout


def test_interrupted_it_ends_soon_leaves_nothing_running_and_goes_on_to_the_same_total(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    process = launch(tmp_path, spec, *settings(LONG))
    wait_until(lambda: epochs_seen(tmp_path, 3), process)
    children = workers()
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    output = finish(process, timeout=15)
    assert time.monotonic() - began < 10
    assert process.returncode == 130, output
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not alive, [child.cmdline() for child in alive]
    assert {trial.state.name for trial in trials(tmp_path)} <= {"COMPLETE", "WAITING"}
    again = launch(tmp_path, spec, *settings(LONG))
    output = finish(again)
    assert again.returncode == 0, output
    assert [row.state for row in read_results(tmp_path / "run")] == ["COMPLETE"] * 4
    assert [trial.number for trial in trials(tmp_path)] == [0, 1, 2, 3]


def test_a_killed_worker_is_replaced_and_its_trial_runs_again_under_its_number(tmp_path: Path) -> None:
    process = launch(tmp_path, write_spec(tmp_path), *settings(LONG))
    wait_until(lambda: epochs_seen(tmp_path, 3), process)
    victim = workers()[0]
    running = {
        trial.user_attrs["owner"]["pid"]: trial.number for trial in trials(tmp_path) if trial.state.name == "RUNNING"
    }
    number = running[victim.pid]
    victim.kill()
    output = finish(process)
    assert process.returncode == 0, output
    assert f"trial {number} waits to run again" in output
    rows = read_results(tmp_path / "run")
    assert [(row.number, row.state) for row in rows] == [(n, "COMPLETE") for n in range(4)]
    assert {row.number: row.attempt for row in rows} == {n: 2 if n == number else 1 for n in range(4)}


def test_workers_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    process = launch(tmp_path, spec, *settings({**LONG, "trainer.max_epochs": 2000}), program=("-c", OWN_FORK_SERVER))
    wait_until(lambda: epochs_seen(tmp_path, 3), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert sorted(child.name() for child in children) == ["fork-server", "worker-0", "worker-1"]
    process.kill()
    finish(process)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert {trial.state.name for trial in trials(tmp_path)} <= {"COMPLETE", "WAITING"}


def test_a_bug_in_the_module_stops_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from examples.two_moons import MoonsNet\n"
        "class Broken(MoonsNet):\n"
        "    def on_train_epoch_start(self):\n"
        "        if self.current_epoch == 1:\n"
        "            raise RuntimeError('a <bug>')\n"
    )
    base = {
        "model": {"class_path": "broken.Broken", "init_args": {"hidden": 4}},
        "data": {"class_path": "examples.two_moons.MoonsData"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    objective = {"metric": "valid_loss", "direction": "minimize"}
    space = {"model.lr": {"low": 1e-3, "high": 1e-1}}
    spec = write_spec(tmp_path, base=base, objective=objective, space=space, n_trials=50, max_failures=3)
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    words = ["-m", "sweeps", "launch", spec, "--run_dir", tmp_path / "run", "--wandb", "disabled", "--workers", 1]
    done = run_python(words, tmp_path, environment)
    assert done.returncode == 1
    assert "the last 3 trials failed" in done.stdout
    rows = read_results(tmp_path / "run")
    assert len(rows) < 10
    assert {(row.state, row.reason) for row in rows} == {("FAIL", "RuntimeError: a <bug>")}
    mended = (tmp_path / "broken.py").read_text().replace("== 1", "== 99")
    (tmp_path / "broken.py").write_text(mended)
    again = run_python([*words, "--n_trials", len(rows) + 2], tmp_path, environment)
    assert again.returncode == 0
    assert [row.state for row in read_results(tmp_path / "run")[len(rows) :]] == ["COMPLETE"] * 2


def test_a_time_limit_ends_a_sweep_that_can_go_on(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    process = launch(tmp_path, spec, "--timeout", "3s", *settings({**LONG, "trainer.max_epochs": 5000}))
    output = finish(process)
    assert process.returncode == 0, output
    assert "timeout: stopping the workers" in output
    assert "the same command goes on from here" in output
    assert {trial.state.name for trial in trials(tmp_path)} == {"WAITING"}


def test_the_study_may_live_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    process = launch(tmp_path, write_spec(tmp_path), "--storage", url)
    output = finish(process)
    assert process.returncode == 0, output
    assert len(optuna.load_study(study_name="tiny", storage=url).trials) == 4
    assert len(read_results(tmp_path / "run")) == 4


def test_a_worker_that_is_asked_to_end_from_outside_is_replaced(tmp_path: Path) -> None:
    process = launch(tmp_path, write_spec(tmp_path), *settings(LONG))
    wait_until(lambda: epochs_seen(tmp_path, 3), process)
    workers()[0].terminate()
    output = finish(process)
    assert process.returncode == 0, output
    assert [(row.number, row.state) for row in read_results(tmp_path / "run")] == [
        (number, "COMPLETE") for number in range(4)
    ]


WITHOUT_CHECKS = """
from sweeps import cli, launch
from sweeps.spec.preflight import Checked
launch.check_in_child = lambda spec, wandb: Checked(spec, 0, [])
cli.main()
"""


def test_a_second_signal_ends_a_launcher_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it gives back the trial of a worker that died, as somebody keeps the study's lock."""
    spec, run_dir = resolved_spec(tmp_path), tmp_path / "run"
    (tmp_path / "spec.yaml").write_text(spec.dump())
    words = ["launch", tmp_path / "spec.yaml", "--run_dir", run_dir, "--workers", 0, "--wandb", "disabled"]
    launcher = Forked(["-c", WITHOUT_CHECKS, *words], tmp_path)
    try:
        wait_until(lambda: (run_dir / "status.json").exists(), launcher)
        monkeypatch.setattr(
            "sweeps.study.trial_queue.identity", lambda: {"machine": machine(), "pid": 1, "started": "never"}
        )
        assert SharedStudy(run_dir, spec).claim(0)
        with locked(run_dir / "study.lock"):
            launcher.send_signal(signal.SIGINT)
            wait_until(lambda: waits_for_lock(launcher.pid), launcher)
            launcher.send_signal(signal.SIGTERM)
            output = finish(launcher, timeout=20)
        assert launcher.returncode == 130, output
        assert "Traceback" not in output
    finally:
        launcher.kill()


@pytest.mark.parametrize(
    ("asked", "of_spec", "of_base", "expected"),
    [
        ("disabled", "offline", "offline", "disabled"),
        (None, "disabled", "offline", "disabled"),
        (None, None, "disabled", "disabled"),
        (None, None, "auto", "offline"),
    ],
)
def test_workers_that_join_are_told_how_trials_are_tracked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: Mode | None,
    of_spec: Mode | None,
    of_base: Mode,
    expected: Mode,
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr("sweeps.launcher.check_in_child", lambda spec, wandb: Checked(spec, 0, []))
    base = {**tiny_spec(tmp_path)["base"], "tracking": {"wandb": of_base}}
    spec = resolved_spec(tmp_path, base=base, tracking={"wandb": of_spec} if of_spec else {})
    order = LaunchOptions(tmp_path / "run", None, asked)
    assert run(replace(spec, workers=0, timeout=1e-3), order) == 0
    assert SharedStudy(tmp_path / "run", spec).attributes.wandb == expected


def test_the_mode_of_tracking_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` asks the server of W&B: three answers in a launch could differ."""
    asked = []

    def resolve(mode: str) -> str:
        asked.append(mode)
        return "offline"

    monkeypatch.setattr("sweeps.launcher.resolve_wandb_mode", resolve)
    monkeypatch.setattr("sweeps.launcher.check_in_child", lambda spec, wandb: Checked(spec, 0, []))
    monkeypatch.setattr("sweeps.launcher.SweepSupervisor.run", lambda supervisor: 0)
    spec = resolved_spec(tmp_path, tracking={"wandb": "auto"})
    assert run(spec, LaunchOptions(tmp_path / "run", None, None)) == 0
    assert asked == ["auto"]


def test_a_launch_says_how_many_older_trials_it_learns_from_and_stores_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweeps.launcher.check_in_child", lambda spec, wandb: Checked(spec, 0, []))
    monkeypatch.setattr("sweeps.launcher.SweepSupervisor.run", lambda supervisor: 0)
    older = tmp_path / "older"
    older.mkdir()
    (older / "spec.yaml").write_text(resolved_spec(tmp_path).dump())
    fits = {"model.network.width": 8, "model.optimizer.lr": 0.01}
    params = [fits, {**fits, "model.network.width": 99}, {**fits, "model.optimizer.lr": 0.02}]
    results = [TrialResult(n, "COMPLETE", "completed", str(n), value=0.9, params=p) for n, p in enumerate(params)]
    write_results(older, [*results, TrialResult(3, "PRUNED", "pruned", "3", value=0.9, params=fits)])
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = resolved_spec(tmp_path, warm_start=["~/older"])
    order = LaunchOptions(tmp_path / "run", None, "disabled")
    assert run(spec, order, dry_run=True) == run(spec, order) == 0
    assert capsys.readouterr().out.count("warm start: 2 of 3 completed trials in ~/older fit the space; ") == 2
    study = SharedStudy(tmp_path / "run", spec)
    assert [trial.params for trial in study._queue._older_trials] == [params[2], params[0]]
    assert study.trials() == []
