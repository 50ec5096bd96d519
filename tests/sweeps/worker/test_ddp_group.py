"""A trial on two devices: two processes over gloo, started, followed and ended by the worker's."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked import Forked
from paths import REPOSITORY
from stand_in_workers import wait_for
from sweep_specs import resolved_spec, tiny_spec

from lit_dl.config.overlay import merge
from sweeps.study.study import SharedStudy
from sweeps.worker.attempt import Row, TrialRequest, run_attempt
from sweeps.worker.callbacks import TrialInterrupted
from sweeps.worker.ddp_group import RankDied, run_group

TOLERANCE = 1e-5  # as in test_ddp.py
EPOCHS = 4
MODULE = """
import time
from lit_dl import Classifier

class FailsOnOne(Classifier):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        if self.current_epoch == 1 and self.global_rank == 1:
            raise RuntimeError("only rank one")

class ClosesLate(Classifier):
    def load_state_dict(self, *args, **options):
        if self.global_rank == 0:
            time.sleep(6)
        return super().load_state_dict(*args, **options)
"""
Order_ = Callable[..., TrialRequest]


class News:
    """What was reported; answers, and does something, at an epoch."""

    def __init__(self, at: int = 0, action: Callable[[], Any] = lambda: None) -> None:
        self.at, self.action = at, action
        self.told: dict[int, float | None] = {}

    def __call__(self, epoch: int, value: float | None) -> Any:
        assert epoch not in self.told
        self.told[epoch] = value
        return self.action() if epoch == self.at else None


@pytest.fixture(scope="module")
def trial_request(config: Callable[..., Any]) -> Order_:
    """Makes the order of a trial on so many devices in a folder."""

    def make(folder: Path, devices: int = 2, **changes: Any) -> TrialRequest:
        settings = {"max_epochs": EPOCHS, "devices": devices}
        made = {**merge(config(), {"trainer": settings}), "threads": 1}
        given = TrialRequest(3, 1, made, ["val/acc"], str(folder), "study", "uid-3", "disabled", False, None, 0)
        return replace(given, **changes)

    return make


def never() -> threading.Event:
    return threading.Event()


def ranks() -> dict[int, psutil.Process]:
    """The processes of the group, by rank."""
    named = {process.name(): process for process in fork_server_process().children()}
    return {int(name.removeprefix("rank-")): process for name, process in named.items() if name.startswith("rank-")}


def fork_server_process() -> psutil.Process:
    """The fork server that this process started."""
    (server,) = (child for child in psutil.Process().children() if child.name() == "fork-server")
    return server


def with_all_below(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes and whatever they started."""
    return [each for process in processes for each in (process, *process.children(recursive=True))]


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "elapsed_s"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(trial_request: Order_, tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, Path, dict[int, float | None]]:
    """What one process gives."""
    folder, news = tmp_path_factory.mktemp("alone") / "00003", News()
    return run_attempt(trial_request(folder, devices=1), news, never()), folder, news.told


def is_as_alone(alone: tuple[Row, Path, dict[int, float | None]], folder: Path) -> None:
    expected, got = rows(alone[1]), rows(folder)
    assert len(got) == len(expected) == EPOCHS
    for one, other in zip(expected, got, strict=True):
        assert other == pytest.approx(one, rel=TOLERANCE)


def test_a_group_gives_what_one_process_gives_and_leaves_one_run(
    alone: tuple[Row, Path, dict[int, float | None]], trial_request: Order_, tmp_path: Path
) -> None:
    heard: list[str] = []

    def listen() -> None:
        family = [psutil.Process(), *with_all_below(ranks().values())]
        sockets = [socket for process in family for socket in process.net_connections("inet")]
        heard.extend(socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN)

    folder, news = tmp_path / "00003", News(2, listen)
    row = run_group(trial_request(folder, wandb="offline"), news, never())
    assert (row["outcome"], row["reason"], row["epochs"]) == ("completed", "max_epochs", EPOCHS)
    is_as_alone(alone, folder)
    assert news.told == pytest.approx(alone[2], rel=TOLERANCE)
    assert row["best_epoch"] == alone[0]["best_epoch"]
    assert row["parameters"] == alone[0]["parameters"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert heard  # where the ranks meet
    assert set(heard) <= {"127.0.0.1", "::1"}
    assert not ranks()


def test_pruning_reaches_all_ranks(trial_request: Order_, tmp_path: Path) -> None:
    row = run_group(trial_request(tmp_path / "00003"), News(2, lambda: "pruned"), never())
    assert (row["outcome"], row["epochs"]) == ("pruned", 2)
    assert len(rows(tmp_path / "00003")) == 2
    assert not ranks()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_ends_the_attempt_and_the_next_goes_on(
    alone: tuple[Row, Path, dict[int, float | None]], trial_request: Order_, tmp_path: Path, victim: int
) -> None:
    family: list[psutil.Process] = []

    def kill() -> None:
        family.extend(with_all_below(ranks().values()))
        ranks()[victim].kill()

    news, began = News(3, kill), time.monotonic()
    folder = tmp_path / "00003"
    with pytest.raises(RankDied, match=rf"rank {victim} died \(SIGKILL\)"):
        run_group(trial_request(folder), news, never())
    assert time.monotonic() - began < 60  # gloo itself waits for half an hour
    assert list(news.told) == [1, 2, 3]
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left
    again = News()
    row = run_group(trial_request(folder, attempt=2), again, never())
    assert list(again.told) == [3, 4]  # epoch 3 was reported, but not on disk
    assert (row["outcome"], row["epochs"]) == ("completed", EPOCHS)
    is_as_alone(alone, folder)


def with_module(
    trial_request: TrialRequest, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrialRequest:
    """The order, of a subclass of ours; the ranks find it in the folder they start in."""
    (tmp_path / "someones.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    model = {"class_path": f"someones.{name}", "init_args": trial_request.config["model"]}
    return replace(trial_request, config={**trial_request.config, "model": model})


def test_what_one_rank_raises_is_how_the_trial_failed(
    trial_request: Order_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = News()
    row = run_group(with_module(trial_request(tmp_path / "00003"), "FailsOnOne", tmp_path, monkeypatch), news, never())
    assert (row["outcome"], row["reason"]) == ("failed", "RuntimeError: only rank one")
    assert list(news.told) == [1]
    assert not ranks()


def test_ranks_need_not_end_at_the_same_time(
    trial_request: Order_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = with_module(trial_request(tmp_path / "00003"), "ClosesLate", tmp_path, monkeypatch)
    assert run_group(given, News(), never())["outcome"] == "completed"


def test_a_worker_that_is_told_to_stop_ends_all_ranks(trial_request: Order_, tmp_path: Path) -> None:
    stop = never()
    with pytest.raises(TrialInterrupted):
        run_group(trial_request(tmp_path / "00003"), News(2, stop.set), stop)
    assert not ranks()


def test_no_rank_outlives_its_worker(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path)
    given["base"]["trainer"] |= {"devices": 2, "max_epochs": 2000}
    given["base"]["early_stopping"] = {"patience": None}
    spec = resolved_spec(tmp_path, base=given["base"], n_trials=1)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "spec.yaml").write_text(spec.dump())
    SharedStudy(run_dir, spec, create=True)
    worker = Forked(["-m", "sweeps", "worker", run_dir, "--wandb", "disabled"], REPOSITORY)
    try:
        started = run_dir / "trials" / "00000" / "metrics.csv"
        wait_for(lambda: started.exists() or worker.poll() is not None, within_s=120)
        assert len(ranks()) == 2
        family = with_all_below(ranks().values())
    finally:
        worker.kill()
        worker.wait()
    _, left = psutil.wait_procs(family, timeout=10)
    assert not left
