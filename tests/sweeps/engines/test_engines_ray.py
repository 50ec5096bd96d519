"""Workers as actors: on a cluster of two nodes that is there, and on one that is started and ended with the sweep."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked import Forked
from stand_in_workers import begun, is_running, kill, wait_for, write_program
from sweep_specs import write_spec

from lit_dl.errors import ConfigError
from sweeps.engines.engine import Crash, WorkerCommand
from sweeps.engines.ray import RayEngine, _check_storage
from sweeps.engines.ray_cluster import ENVIRONMENT
from sweeps.results.files import read_results
from sweeps.spec.spec import SlotSize

SECRET = "planted-7781"
URL = f"postgresql://me:{SECRET}@nowhere/db"
_SOON_LOST = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes: one with a CPU and two GPUs, which are not there, and one with a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "RAY_AUTH_TOKEN": 64 * "7"}.items():
            patch.setenv(name, value)  # before Ray is imported, in this process
        from ray.cluster_utils import Cluster

        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the paths of its sockets must stay short
        patch.setenv("RAY_TMPDIR", folder)
        os.mkdir(f"{folder}/ray")  # where a Cluster, unlike a `ray.init`, takes its folder to be there
        head = {"num_cpus": 1, "num_gpus": 2, "include_dashboard": False, "temp_dir": f"{folder}/ray"}
        cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": _SOON_LOST})
        cluster.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()
        shutil.rmtree(folder)


@pytest.fixture
def command(tmp_path: Path) -> WorkerCommand:
    (tmp_path / "spec.yaml").touch()
    return WorkerCommand(tmp_path, "study", URL, "disabled", write_program(tmp_path))


Start = Callable[..., RayEngine]


@pytest.fixture
def start(cluster: Any, command: WorkerCommand) -> Iterator[Start]:
    """Makes an engine and waits until its workers have begun; without GPUs unless they are asked for."""
    engines: list[RayEngine] = []

    def make(workers: int | None = None, size: SlotSize | None = None, **options: Any) -> RayEngine:
        size = size or SlotSize()
        options = {"gpus": 0, "may_use_gpus": size.gpus is not None, **options}
        engine = RayEngine(command, workers, size, **options)
        engines.append(engine)
        engine.start()
        wait_for(lambda: engine.collect() == [] and len(begun(command.run_dir)) == len(engine.slots))
        return engine

    yield make
    for engine in engines:
        engine.close()


def test_workers_are_placed_on_every_node_and_none_is_left(start: Start, command: WorkerCommand) -> None:
    engine = start()
    workers = begun(command.run_dir)
    assert sorted(worker["slot"] for worker in workers) == [0, 1]
    words = [str(command.run_dir), "--slot", "0", "--threads", "1", "--wandb", "disabled", "--stop_on_stdin_eof"]
    (first,) = (worker for worker in workers if worker["slot"] == 0)
    assert (first["words"], first["cwd"]) == (words, os.getcwd())
    assert {worker["environment"]["SWEEPS_STORAGE"] for worker in workers} == {URL}
    assert {worker["environment"]["CUDA_VISIBLE_DEVICES"] for worker in workers} == {""}
    assert len({worker["environment"]["RAY_RAYLET_PID"] for worker in workers}) == 2
    assert (set(engine.workers), engine.pending) == ({0, 1}, set())
    assert f"worker {first['pid']}" in engine.log_of(0).read_text()
    engine.stop()
    assert not engine.workers
    assert not any(is_running(worker["pid"]) for worker in workers)


@pytest.mark.parametrize(
    ("workers", "size", "expected"),
    [
        (None, SlotSize(gpus=0.5), ["0", "0", "1", "1"]),
        (None, SlotSize(gpus=1), ["0", "1"]),
        (None, SlotSize(gpus=2), ["0,1"]),
        (3, SlotSize(gpus=0.25), ["0", "0", "0"]),
        (None, SlotSize(gpus=1, cpus=1), ["0"]),
    ],
)
def test_gpus_and_shares_of_them_are_resources(
    workers: int | None, size: SlotSize, expected: list[str], start: Start, command: WorkerCommand
) -> None:
    start(workers, size)
    assert sorted(worker["environment"]["CUDA_VISIBLE_DEVICES"] for worker in begun(command.run_dir)) == expected


@pytest.mark.parametrize(
    ("size", "processes", "key", "says"),
    [
        (SlotSize(gpus=3), 1, "slot.gpus", "got 3, and the largest node has 2 GPUs"),
        (SlotSize(cpus=2), 1, "slot.cpus", "got 2, and the largest node has"),
        (SlotSize(), 2, "trainer.devices", "slot: {gpus: 2}"),
    ],
)
def test_what_no_node_holds_is_refused(size: SlotSize, processes: int, key: str, says: str, start: Start) -> None:
    with pytest.raises(ConfigError) as error:
        start(None, size, processes=processes, may_use_gpus=True)
    assert error.value.key == key
    assert says in error.value.problem


def test_how_a_worker_died_is_told_and_another_takes_its_place(start: Start, command: WorkerCommand) -> None:
    engine = start(1)
    (worker,) = begun(command.run_dir)
    kill(worker["pid"])
    (death,) = wait_for(engine.collect)
    assert death == Crash(0, "was killed by SIGKILL", str(engine.log_of(0)), f"worker {worker['pid']}")
    assert not engine.workers
    engine.restart(0)
    wait_for(lambda: engine.collect() == [] and len(begun(command.run_dir)) == 2)
    (command.run_dir / "end-0").write_text("3")
    (death,) = wait_for(engine.collect)
    assert death.how == "ended with exit status 3"
    (command.run_dir / "end-0").write_text("0")
    engine.restart(0)
    wait_for(lambda: engine.collect() or not engine.workers)
    assert engine.collect() == []


def test_a_killed_actor_takes_its_worker_along(
    start: Start, command: WorkerCommand, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start(1)
    (worker,) = begun(command.run_dir)
    kill(psutil.Process(worker["pid"]).ppid())
    (death,) = wait_for(engine.collect)
    assert death.how == "is gone with its actor (ActorDiedError)"
    wait_for(lambda: not is_running(worker["pid"]), within_s=7)
    engine.restart(0)
    wait_for(lambda: engine.collect() == [] and len(begun(command.run_dir)) == 2)
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_a_lost_node_is_told_and_its_worker_waits_for_room(cluster: Any, start: Start, command: WorkerCommand) -> None:
    engine = start()
    head = cluster.head_node.node_id
    lost = next(node for node in cluster.list_all_nodes() if node.node_id != head)
    cluster.remove_node(lost, allow_graceful=False)
    (death,) = wait_for(engine.collect, within_s=120)
    assert death.how == "is gone with its node"
    (worker,) = (worker for worker in begun(command.run_dir) if worker["slot"] == death.slot)
    wait_for(lambda: not is_running(worker["pid"]), within_s=7)
    engine.restart(death.slot)
    assert engine.collect() == []
    assert (engine.pending, set(engine.workers)) == ({death.slot}, {0, 1})
    cluster.add_node(num_cpus=1)
    wait_for(lambda: engine.collect() == [] and not engine.pending)
    wait_for(lambda: len(begun(command.run_dir)) == 3)


def test_workers_that_wait_for_room_can_be_stopped(start: Start, command: WorkerCommand) -> None:
    engine = start(2)
    other = RayEngine(command, None, SlotSize(), gpus=0, may_use_gpus=False)
    other.start()
    assert (other.collect(), other.pending) == ([], {0, 1})
    other.stop()
    assert (set(other.workers), other.pending) == (set(), set())
    assert engine.collect() == []
    assert len(begun(command.run_dir)) == 2


def test_a_node_without_the_run_folder_joins_the_study_by_name(start: Start, command: WorkerCommand) -> None:
    (command.run_dir / "spec.yaml").unlink()
    start(1)
    (worker,) = begun(command.run_dir)
    assert worker["words"][:3] == [str(command.run_dir), "--study", "study"]
    assert not (command.run_dir / "worker-0.log").exists()  # nothing but a study makes it a run folder
    beside = command.run_dir.with_name(f"{command.run_dir.name}-worker-0.log")
    assert f"worker {worker['pid']}" in beside.read_text()


def test_a_study_in_a_file_stays_on_one_machine() -> None:
    here, there = ({"NodeManagerHostname": host} for host in (socket.gethostname(), "node7"))
    journal, database = (WorkerCommand(Path("run"), "study", url, "disabled") for url in (None, URL))
    _check_storage(journal, [here, here])
    _check_storage(database, [here, there])
    with pytest.raises(ConfigError, match=r"--storage: .*node7.*postgresql://"):
        _check_storage(journal, [here, there])


def test_a_cluster_that_does_not_answer_is_told_at_once(
    command: WorkerCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"--engine: .*127\.0\.0\.1:1.*RAY_ADDRESS=local"):
        RayEngine(command, None, SlotSize(), gpus=0)


LAUNCHER = """
import os, signal, sys, time
from pathlib import Path

from sweeps.engines.engine import WorkerCommand
from sweeps.engines.ray import RayEngine
from sweeps.spec.spec import SlotSize

folder, program = sys.argv[1:]
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
command = WorkerCommand(Path(folder), "study", os.environ["URL"], "disabled", (program,))
with RayEngine(command, None, SlotSize(gpus=0.5), gpus=1) as engine:
    assert signal.getsignal(signal.SIGTERM) is handler
    engine.start()
    while engine.pending:
        assert engine.collect() == []
        time.sleep(0.05)
    Path(folder, "cluster").write_text(str(engine._ours.folder))
    sys.stdin.read()
"""


@pytest.fixture
def launcher(command: WorkerCommand) -> Iterator[subprocess.Popen[str]]:
    """A process that has started a cluster, and on it two workers that share a GPU."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_ADDRESS": "local", "URL": URL, "WANDB_API_KEY": SECRET, "HOME": str(command.run_dir)}
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(command.run_dir), *command.program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: (command.run_dir / "cluster").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        wait_for(lambda: len(begun(command.run_dir)) == 2)
        yield process
    finally:
        process.kill()
        process.communicate()


def _family(process: subprocess.Popen[str] | Forked) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_cluster_of_ours_is_private_and_leaves_nothing(
    launcher: subprocess.Popen[str], command: WorkerCommand
) -> None:
    family = [psutil.Process(launcher.pid), *_family(launcher)]
    names = " ".join(process.name() for process in family)
    assert all(name in names for name in ("gcs_server", "raylet", "ray::")), names
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}
    assert not any(SECRET in word for process in family for word in process.cmdline())
    folder = Path((command.run_dir / "cluster").read_text())
    assert folder.stat().st_mode & 0o077 == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert [worker["environment"]["CUDA_VISIBLE_DEVICES"] for worker in begun(command.run_dir)] == ["0", "0"]
    assert {worker["environment"]["WANDB_API_KEY"] for worker in begun(command.run_dir)} == {SECRET}
    output, _ = launcher.communicate(timeout=120)
    assert (launcher.returncode, output) == (0, "")
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert not folder.exists()
    assert not (command.run_dir / ".ray").exists()  # where Ray keeps a token of its own


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_no_process_outlives_its_launcher(
    number: signal.Signals, launcher: subprocess.Popen[str], command: WorkerCommand
) -> None:
    family = _family(launcher)
    assert {worker["pid"] for worker in begun(command.run_dir)} <= {process.pid for process in family}
    launcher.send_signal(number)
    launcher.communicate(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert not Path((command.run_dir / "cluster").read_text()).exists()


def test_a_sweep_on_ray_survives_its_actors(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    longer = ["--set", "trainer.max_epochs=40", "early_stopping.patience=null"]
    options = ["--run_dir", "run", "--engine", "ray", "--workers", "2", "--wandb", "disabled", *longer]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = Forked(["-m", "sweeps", "launch", spec.name, *options], tmp_path, {**environment, "RAY_ADDRESS": "local"})
    try:
        tables = tmp_path / "run" / "trials"
        wait_for(lambda: process.poll() is not None or len(list(tables.glob("*/metrics.csv"))) >= 2, within_s=400)
        assert process.poll() is None, process.stderr
        family = _family(process)
        actor = next(p for p in family if p.name().startswith("ray::WorkerAct") and p.children())
        actor.kill()
        assert process.wait(180) == 0, process.stderr
    finally:
        process.kill()
    assert "is gone with its actor" in process.stdout
    assert [(row.number, row.state) for row in read_results(tmp_path / "run")] == [
        (number, "COMPLETE") for number in range(4)
    ]
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
