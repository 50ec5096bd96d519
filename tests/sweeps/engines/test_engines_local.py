"""Workers as child processes, with a stand-in for the worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from forked import run_python
from paths import REPOSITORY
from stand_in_workers import begun, is_running, kill, wait_for

from sweeps.engines.engine import Crash, WorkerCommand, how_ended, last_line
from sweeps.engines.local import LocalEngine
from sweeps.engines.slots import Slot
from sweeps.processes.fork_server import ForkedProcess

URL = "postgresql://me:planted-7781@nowhere/db"


@pytest.fixture
def command(tmp_path: Path) -> WorkerCommand:
    return WorkerCommand(tmp_path, "study", URL, "disabled")


def local_engine(command: WorkerCommand, *slots: Slot, target: str = "main") -> LocalEngine:
    """An engine with a stand-in for the worker."""
    return LocalEngine(command, list(slots), f"stand_in_workers:{target}")


def test_a_worker_gets_its_devices_and_the_url_where_nobody_else_reads_it(
    command: WorkerCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    with local_engine(command, Slot(0, (2, 3), 4), Slot(1, (), 1)) as engine:
        engine.start()
        first, second = sorted(
            wait_for(lambda: len(found := begun(command.run_dir)) == 2 and found), key=lambda w: w["slot"]
        )
        assert (set(engine.workers), engine.pending) == ({0, 1}, set())
    words = [str(command.run_dir), "--slot", "0", "--threads", "4", "--wandb", "disabled", "--stop_on_stdin_eof"]
    assert first["words"] == words
    assert [w["environment"]["CUDA_VISIBLE_DEVICES"] for w in (first, second)] == ["GPU-c,GPU-d", ""]
    assert [w["environment"]["OMP_NUM_THREADS"] for w in (first, second)] == ["4", "1"]
    assert first["environment"]["SWEEPS_STORAGE"] == URL
    assert "planted-7781" not in repr(command)
    assert not is_running(first["pid"])
    assert not is_running(second["pid"])


def test_how_a_worker_died_is_told_and_another_takes_its_place(command: WorkerCommand) -> None:
    with local_engine(command, Slot(0, (), 1)) as engine:
        engine.start()
        (worker,) = wait_for(lambda: begun(command.run_dir))
        assert engine.collect() == []
        kill(worker["pid"])
        (death,) = wait_for(engine.collect)
        log = command.run_dir / "worker-0.log"
        assert death == Crash(0, "was killed by SIGKILL", str(log), f"worker {worker['pid']}")
        assert not engine.workers
        engine.restart(0)
        wait_for(lambda: len(begun(command.run_dir)) == 2)
        (command.run_dir / "end-0").write_text("3")
        (death,) = wait_for(engine.collect)
        assert death.how == "ended with exit status 3"


def test_a_worker_with_nothing_left_to_do_is_no_death(command: WorkerCommand) -> None:
    (command.run_dir / "end-0").write_text("0")
    with local_engine(command, Slot(0, (), 1)) as engine:
        engine.start()
        wait_for(lambda: engine.collect() or not engine.workers)
        assert not engine.workers
        assert engine.collect() == []


def test_nothing_of_a_dead_worker_stays_behind(command: WorkerCommand) -> None:
    """Such as the processes of its data loaders, which are in its group."""
    with local_engine(command, Slot(0, (), 1), target="leave_a_child") as engine:
        engine.start()
        (crash,) = wait_for(engine.collect)
        wait_for(lambda: not is_running(int(crash.last_line)), within_s=5)


def test_what_cuts_the_waiting_for_workers_short_kills_them(
    command: WorkerCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, while one hangs."""
    engine = local_engine(command, Slot(0, (), 1), Slot(1, (), 1), target="hang")
    engine.start()
    workers, wait, waited = list(engine.workers.values()), ForkedProcess.wait, []

    def cut_short(worker: ForkedProcess, timeout: float | None = None) -> int | None:
        waited.append(timeout)
        if len(waited) == 1:
            raise KeyboardInterrupt
        return wait(worker, timeout)

    monkeypatch.setattr(ForkedProcess, "wait", cut_short)
    with pytest.raises(KeyboardInterrupt):
        engine.stop()
    engine.close()
    assert waited[0] > 5
    assert set(waited[1:]) == {0.0, None}  # a look, and until the kernel has ended what was killed
    assert not any(is_running(worker.pid) for worker in workers)


def test_workers_whose_fork_server_is_killed_are_killed_and_replaced(command: WorkerCommand) -> None:
    with local_engine(command, Slot(0, (), 1), Slot(1, (), 1)) as engine:
        engine.start()
        workers = wait_for(lambda: len(found := begun(command.run_dir)) == 2 and found)
        kill(psutil.Process(workers[0]["pid"]).ppid())
        crashes = wait_for(engine.collect)
        wait_for(lambda: crashes.extend(engine.collect()) or len(crashes) == 2)
        assert {crash.how for crash in crashes} == {"lost its fork server and was killed"}
        assert not any(is_running(worker["pid"]) for worker in workers)
        engine.restart(0)
        (again,) = wait_for(lambda: begun(command.run_dir)[2:])
        assert psutil.Process(again["pid"]).name() == "worker-0"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-99, "was killed by signal 99"),
        (1, "ended with exit status 1"),
        (143, "was asked to end by a signal"),
    ],
)
def test_return_codes_in_words(status: int, words: str) -> None:
    assert how_ended(status) == words


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_bytes(b"first\n" + b"x" * 9000 + b"\n  the end \xff \n\n")
    assert last_line(log) == "the end \N{REPLACEMENT CHARACTER}"
    log.write_text("\n\n")
    assert last_line(log) == ""


def test_engines_import_neither_torch_nor_ray_before_they_are_used() -> None:
    program = "import sys, sweeps.engines, sweeps.engines.engine, sweeps.engines.local, sweeps.engines.ray; " + (
        "print([name for name in ('torch', 'ray', 'lightning') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_the_slurm_script_starts_workers_that_exist(tmp_path: Path) -> None:
    """With an `srun` that runs its words once: the command line is one that `sweeps` takes, without the URL in it."""
    script = REPOSITORY / "examples" / "slurm.sh"
    (tmp_path / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (tmp_path / "sweeps").write_text("#!/bin/bash\necho $@ > words\necho $SWEEPS_STORAGE > storage\n")
    for name in ("srun", "sweeps"):
        (tmp_path / name).chmod(0o755)
    url = "postgresql://me:planted-7781@127.0.0.1:1/nowhere"
    (tmp_path / ".sweeps_storage").write_text(f"{url}\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "SLURM_NTASKS": "32"}
    words = ["bash", str(script), "study", str(tmp_path / "run")]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    told = (tmp_path / "words").read_text()
    assert "planted-7781" not in told
    assert (tmp_path / "storage").read_text().strip() == url
    done = run_python(["-m", "sweeps", *told.split()], tmp_path, {**environment, "SWEEPS_STORAGE": url})
    assert done.stderr.startswith("storage postgresql://me:***@127.0.0.1:1/nowhere: "), done.stderr
    assert done.returncode == 2
    assert subprocess.run(words[:3], cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 1
