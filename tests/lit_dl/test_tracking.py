"""W&B without a network: what `auto` decides, and that an offline run can be read back from its file."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import run_python

from lit_dl.errors import ConfigError
from lit_dl.tracking import Tracker, resolve_wandb_mode, resolve_wandb_project

Config = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# What auto means


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_a_mode_that_is_named_stands(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline" if mode == "disabled" else "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert resolve_wandb_mode(mode) == mode


def test_online_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^tracking\.wandb: online needs an API key; "):
        resolve_wandb_mode("online")


@pytest.mark.parametrize(
    ("variable", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_wandb_mode_settles_auto(variable: str, mode: str, monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{open_port}")
    assert resolve_wandb_mode("auto") == mode


def test_no_key_is_offline_and_asks_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert resolve_wandb_mode("auto") == "offline"


def test_a_key_and_a_server_that_answers_is_online(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{open_port}")
    assert resolve_wandb_mode("auto") == "online"


def test_a_key_and_no_server_is_offline_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port}")
    with caplog.at_level(logging.WARNING, "lit_dl.tracking"):
        assert resolve_wandb_mode("auto") == "offline"
    assert [record.getMessage() for record in caplog.records] == [
        "tracking: a W&B key is configured, but the server does not answer; logging offline"
    ]


@pytest.mark.parametrize(("machine", "mode"), [("127.0.0.1", "online"), ("api.wandb.ai", "offline")])
def test_a_key_in_netrc_counts_for_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_port: int, machine: str, mode: str
) -> None:
    path = tmp_path / "netrc"
    path.write_text(f"machine {machine}\n  login user\n  password x\n")
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{open_port}")
    assert resolve_wandb_mode("auto") == mode


def test_a_netrc_that_does_not_parse_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("no netrc at all {")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert resolve_wandb_mode("auto") == "offline"


# What an offline run holds


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: 7 bytes of header, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def items(message: Any) -> Config:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in message}


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return path


def finished(folder: Path, within_s: float = 20.0) -> list[Any]:
    """The records of the one run in a folder, once its last is there: W&B writes the file in another process."""
    deadline = time.monotonic() + within_s
    while True:
        found = list(records(only_file(folder)))
        if found and found[-1].HasField("exit"):
            return found
        assert time.monotonic() < deadline, "the run was never finished"
        time.sleep(0.02)


def test_an_offline_run_can_be_read_back(tmp_path: Path) -> None:
    tracker = Tracker(
        "auto",
        tmp_path,
        project="p",
        name="trial 7",
        group="study",
        run_id="abc123",
        config={"model": {"lr": 0.1}},
        tags=["t"],
    )
    logger = tracker.logger()
    for epoch in range(2):
        logger.log_metrics({"val/loss": 1.0 / (epoch + 1), "epoch": epoch}, step=epoch * 10)
    tracker.finish({"best/val/loss": 0.5})
    found = finished(tmp_path)
    assert only_file(tmp_path).name == "run-abc123.wandb"
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name, run.run_group, run.run_id, list(run.tags)) == (
        "p",
        "trial 7",
        "study",
        "abc123",
        ["t"],
    )
    assert items(run.config.update)["model"] == {"lr": 0.1}
    rows = [items(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    assert [(row["epoch"], row["val/loss"]) for row in rows] == [(1, 1.0), (2, 0.5)]
    steps = {(r.metric.name or r.metric.glob_name, r.metric.step_metric) for r in found if r.HasField("metric")}
    assert ("*", "epoch") in steps
    summary: Config = {}
    for record in found:
        summary |= items(record.summary.update) if record.HasField("summary") else {}
    assert summary["best/val/loss"] == 0.5
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]
    assert tracker.seconds > 0


def test_a_failed_run_says_so(tmp_path: Path) -> None:
    tracker = Tracker("offline", tmp_path, project="p", name="n")
    tracker.finish({}, failed=True)
    assert [r.exit.exit_code for r in finished(tmp_path) if r.HasField("exit")] == [1]


def test_each_tracker_is_a_run_of_its_own(tmp_path: Path) -> None:
    first, second = (Tracker("offline", tmp_path / name, project="p", name=name) for name in "ab")
    first.logger().log_metrics({"x": 1.0})
    second.logger().log_metrics({"x": 2.0})
    first.finish({})
    second.finish({})
    for name, value in (("a", 1.0), ("b", 2.0)):
        rows = [items(r.history.item) for r in finished(tmp_path / name) if r.HasField("history")]
        assert [row["x"] for row in rows] == [value]


UNDER_AN_AGENT = """
import sys
from pathlib import Path
import wandb
if sys.argv[2] == "set up before":
    wandb.setup()
from lit_dl.tracking import Tracker
for name in ("a", "b"):
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    tracker = Tracker("offline", folder, project=None, name=name, run_id=f"trial-{name}")
    run = tracker._run
    print(run.id, run.name, run.project, run.entity, run.sweep_id)
    tracker.finish({})
"""


@pytest.mark.parametrize(
    ("enclosing", "when"),
    [  # a wandb agent; a notebook that has a run; W&B Launch
        ({"RUN_ID": "theirs", "SWEEP_ID": "s", "SWEEP_PARAM_PATH": "params.yaml"}, "set up by the tracker"),
        ({"RUN_ID": "theirs", "RESUME": "must", "NAME": "theirs"}, "set up before"),
        ({"RESUME_FROM": "theirs?_step=3", "LAUNCH": "true"}, "set up before"),
    ],
)
def test_trials_have_runs_of_their_own_under_somebody_elses_run(
    tmp_path: Path, enclosing: dict[str, str], when: str
) -> None:
    variables = {**enclosing, "PROJECT": "p", "ENTITY": "me", "MODE": "offline"}
    environment = os.environ | {f"WANDB_{name}": value for name, value in variables.items()}
    done = run_python(["-c", UNDER_AN_AGENT, tmp_path, when], tmp_path, environment)
    assert done.stdout.splitlines() == ["trial-a a p me None", "trial-b b p me None"], done.stderr
    names = sorted(path.name for path in tmp_path.glob("*/wandb/offline-run-*/run-trial-*.wandb"))
    assert names == ["run-trial-a.wandb", "run-trial-b.wandb"]


def test_a_run_that_is_no_trial_goes_where_the_environment_says(tmp_path: Path) -> None:
    """A `wandb agent` may start `lit-dl fit`."""
    code = "import sys; from pathlib import Path; from lit_dl.tracking import Tracker;"
    code += "print(Tracker('offline', Path(sys.argv[1]), project=None, name='n')._run.id)"
    done = run_python(["-c", code, tmp_path], tmp_path, {**os.environ, "WANDB_RUN_ID": "theirs"})
    assert done.stdout.splitlines() == ["theirs"], done.stderr


@pytest.mark.parametrize(
    ("given", "environment", "project"), [("a", "b", "a"), (None, "b", "b"), (None, "", "lit-sweeps")]
)
def test_the_project_is_that_of_the_config_or_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: str, project: str
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", environment)
    assert resolve_wandb_project(given) == project


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_a_training_run_tracks_every_epoch_and_its_best(
    config: Callable[..., Config], train: Callable[..., Any], tmp_path: Path
) -> None:
    settings = config(trainer__max_epochs=3, tracking={"wandb": "offline", "project": "p"})
    run, result = train(settings, tmp_path / "run")
    found = finished(tmp_path / "run")
    rows = [items(record.history.item) for record in found if record.HasField("history")]
    for name in ("train/loss", "val/acc"):
        tracked = {row["epoch"]: row[name] for row in rows if name in row}
        assert tracked == pytest.approx({row["epoch"]: row[name] for row in run.rows})
    summary: Config = {}
    for record in found:
        summary |= items(record.summary.update) if record.HasField("summary") else {}
    assert (summary["stopped"], summary["epochs"], summary["best_epoch"]) == ("max_epochs", 3, result.best_epoch)
    assert summary["best/val/loss"] == result.metrics["val/loss"]
    assert 0 < result.seconds["tracking"] < result.seconds["total"]


def test_disabled_makes_no_file(config: Callable[..., Config], train: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = train(config(tracking={"wandb": "disabled"}), tmp_path / "run")
    assert run.tracker is None
    assert not (tmp_path / "run" / "wandb").exists()


def test_a_part_without_a_record_is_removed_when_its_run_goes_on(tmp_path: Path) -> None:
    """As a process leaves it that is killed within 0.2 s; `wandb sync` would send nothing of the run."""
    header = b":W&B\x1e\xe1\x00"
    for name, content in (("20260101_000000-abc", header), ("20260101_000001-abc", header + b"some record")):
        (tmp_path / "wandb" / f"offline-run-{name}").mkdir(parents=True)
        (tmp_path / "wandb" / f"offline-run-{name}" / "run-abc.wandb").write_bytes(content)
    Tracker("disabled", tmp_path, project="p", name="n", run_id="abc")
    assert [path.name for path in tmp_path.glob("wandb/offline-run-*")] == ["offline-run-20260101_000001-abc"]
