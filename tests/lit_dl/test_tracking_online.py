"""W&B with a server: a run that is killed and resumed is one run there, in which no epoch is missing."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from tracked_epochs import LAST, row
from wandb_server import KEY, StoredRun, WandbServer

from lit_dl.tracking import Mode
from sweeps.processes.fork_server import fork_server

FAST = {"WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}  # seconds, instead of 15


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server
    assert server.failures == []


@pytest.fixture
def process(tmp_path: Path, server: WandbServer) -> Callable[..., None]:
    """`process(mode, first, last, stays_s=0.0, half=False)`: a process that goes through epochs.

    It is killed unless it ends the run; `half` leaves its last epoch half logged.
    """

    def start(mode: Mode, first: int, last: int, stays_s: float = 0.0, half: bool = False) -> None:
        given = (tmp_path, mode, server.environment(), range(first, last + 1), stays_s, half)
        child = fork_server().fork("tracked_epochs:run_epochs", *given, name="tracked")
        try:
            assert child.wait(60) == (0 if last == LAST else -signal.SIGKILL)
        finally:
            child.close()
        time.sleep(1 - time.time() % 1)  # W&B names a folder by its second

    return start


def sync(folder: Path, server: WandbServer) -> str:
    """What `wandb sync` of a run's offline folders says."""
    folders = [str(path) for path in folder.glob("wandb/offline-run-*")]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "wandb"), "sync", *folders],
        env={**os.environ, **server.environment(), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stderr


def segments(folder: Path) -> list[str]:
    return sorted(path.name.split("-2")[0] for path in folder.glob("wandb/*run-*-abc"))


def assert_whole(run: StoredRun, twice: Collection[int] = ()) -> None:
    """Every metric of every epoch is there once, in order, on rows whose steps go up by one.

    What was logged of an epoch that had to be trained again may be there `twice`, the same both times.
    """
    for name in ("val/loss", "train/loss"):
        found = [(line["epoch"], line[name]) for line in run.history if name in line]
        times = {epoch: 2 if epoch in twice and name == "val/loss" else 1 for epoch in range(1, LAST + 1)}
        expected = [(epoch, pytest.approx(row(epoch)[name])) for epoch in times for _ in range(times[epoch])]
        assert found == expected
    assert [line["_step"] for line in run.history] == list(range(len(run.history)))
    assert run.exit_codes[-1] == 0
    assert (run.summary["best/val/loss"], run.summary["epoch"]) == (pytest.approx(1 / LAST), LAST)


def step_metrics(run: StoredRun) -> dict[str, Any]:
    """The metric that is the x-axis, by the names it is for."""
    metrics = run.config["_wandb"]["m"]  # by the numbers of protobuf's fields: name, glob, place of the step metric
    return {m.get("1") or m.get("2"): metrics[m["5"] - 1]["1"] for m in metrics if "5" in m}


def test_an_online_run_is_there_as_it_was_logged(
    tmp_path: Path, server: WandbServer, process: Callable[..., None]
) -> None:
    process("online", 1, LAST)
    assert list(server.runs) == ["abc"]
    run = server.runs["abc"]
    assert_whole(run)
    assert run.config["lr"] == 0.1
    assert step_metrics(run) == {"*": "epoch"}
    assert [run.latest(key) for key in ("project", "displayName", "groupName", "tags")] == [
        "p",
        "trial 7",
        "study",
        ["t"],
    ]
    assert run.exit_codes == [0]
    assert segments(tmp_path) == ["run"]


@pytest.mark.parametrize("stays_s", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_killed_and_resumed_run_is_one_run(server: WandbServer, process: Callable[..., None], stays_s: float) -> None:
    process("online", 1, 2, stays_s=0.5)
    assert server.runs["abc"].history == []  # what the process had not sent died with it
    process("online", 3, 4, stays_s=stays_s)  # with or without the time to write what it logs again
    process("online", 5, LAST)
    assert list(server.runs) == ["abc"]
    run = server.runs["abc"]
    assert_whole(run)
    assert run.exit_codes == [0]
    assert run.config["lr"] == 0.1


def test_what_the_server_has_is_not_sent_again(
    server: WandbServer, process: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "environment", lambda: {**WandbServer.environment(server), **FAST})
    process("online", 1, 3, stays_s=2.5)
    sent = len(server.runs["abc"].history)
    assert sent == 6
    process("online", 4, LAST)
    run = server.runs["abc"]
    assert_whole(run)
    assert len(run.history) == 2 * LAST


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("goes_on_at", [3, 4])  # W&B's last row comes after the checkpoint
def test_half_an_epoch_is_made_whole_once(
    tmp_path: Path, server: WandbServer, process: Callable[..., None], mode: Mode, goes_on_at: int
) -> None:
    process(mode, 1, 3, stays_s=0.5, half=True)
    process(mode, goes_on_at, LAST)
    if mode == "offline":
        sync(tmp_path, server)
    assert_whole(server.runs["abc"], twice={3} if (mode, goes_on_at) == ("offline", 3) else set())


@pytest.mark.parametrize("stays_s", [0.0, 0.5])
def test_offline_segments_become_one_run(
    tmp_path: Path, server: WandbServer, process: Callable[..., None], stays_s: float
) -> None:
    process("offline", 1, 2, stays_s)  # killed at once, W&B has written nothing, and `wandb sync` would fail
    process("offline", 3, 4, stays_s)
    process("offline", 5, LAST)
    assert set(segments(tmp_path)) == {"offline-run"}
    assert len(segments(tmp_path)) == 3 or stays_s == 0.0
    sync(tmp_path, server)
    assert list(server.runs) == ["abc"]
    assert_whole(server.runs["abc"])


def test_an_offline_part_goes_online_with_the_rest(
    tmp_path: Path, server: WandbServer, process: Callable[..., None]
) -> None:
    process("offline", 1, 3, stays_s=0.5)
    process("online", 4, LAST)
    assert_whole(server.runs["abc"])
    assert "Skipped 1 synced run(s)" in sync(tmp_path, server)
    assert_whole(server.runs["abc"])


def test_a_run_that_lost_the_network_is_whole_after_sync(
    tmp_path: Path, server: WandbServer, process: Callable[..., None]
) -> None:
    process("online", 1, 3, stays_s=0.5)
    process("offline", 4, LAST)
    sync(tmp_path, server)
    assert_whole(server.runs["abc"])


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(
    tmp_path: Path, server: WandbServer, process: Callable[..., None]
) -> None:
    process("offline", 1, 3, stays_s=0.5)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-abc.wandb")
    path.write_bytes(path.read_bytes()[:-40])
    process("online", 4, LAST)
    assert_whole(server.runs["abc"])


def test_offline_asks_for_nothing(tmp_path: Path, server: WandbServer) -> None:
    code = "import sys; from pathlib import Path; from lit_dl.tracking import Tracker;"
    code += "tracker = Tracker('offline', Path(sys.argv[1]), project='p', name='n', run_id='abc');"
    code += "tracker.resume([{'epoch': 1, 'x': 0.5}]); tracker.finish({})"
    environment = {**os.environ, **server.environment(), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, timeout=300, check=True)
    assert segments(tmp_path) == ["offline-run"]
    assert server.requests == []


def test_no_file_holds_the_key(tmp_path: Path, server: WandbServer, process: Callable[..., None]) -> None:
    process("online", 1, 3, stays_s=0.5)
    process("offline", 4, 5, stays_s=0.5)
    process("online", LAST, LAST)
    assert len(segments(tmp_path)) == 3
    contents = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} | server.uploads
    secrets = KEY.encode(), base64.b64encode(f"api:{KEY}".encode())  # as it is, and as it is sent
    assert [name for name, content in contents.items() if any(secret in content for secret in secrets)] == []
