"""Workers as actors on a Ray cluster: an existing one, or one started here for the sweep and ended with it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lit_dl.config.keys import get_key
from lit_dl.errors import ConfigError
from sweeps.engines.engine import Crash, Engine, WorkerCommand, how_ended, last_line
from sweeps.engines.ray_actor import Errand, WorkerActor
from sweeps.engines.ray_cluster import ENVIRONMENT, QUIET, LocalCluster
from sweeps.engines.slots import Slot, check_devices, cpu_cores, fitting, processes_of
from sweeps.spec.spec import SlotSize, SweepSpec

_PASSED_ON = ("WANDB_", "PYTHONPATH", "SWEEPS_")  # what workers on this machine would inherit and those elsewhere need
_ANSWER_WITHIN_S = 5.0
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # written by `ray start`


@dataclass
class _Placed:
    """An actor, and what was asked of it: whether it is there, and the worker's return code."""

    actor: Any
    begun: Any
    ended: Any
    host: str | None = None
    log: str = ""


class RayEngine(Engine):
    """Workers as actors, placed by Ray wherever there is room for a slot.

    Args:
        command: What workers are started with.
        workers: At most so many; `None`: as many as the cluster has room for.
        size: Of a slot.
        gpus: GPUs of this machine that may be used, for a cluster that is started here; 0, as on a cluster where no
            trial shall use one.
        processes: Of a trial, when it trains on several devices.
        may_use_gpus: Whether trials may run on GPUs of a cluster.

    Raises:
        ConfigError: Ray is not installed, or not there where `RAY_ADDRESS` says; the cluster cannot hold a slot; or it
            has other machines, and the study is kept in a file on this one.
    """

    def __init__(
        self,
        command: WorkerCommand,
        workers: int | None,
        size: SlotSize,
        *,
        gpus: int,
        processes: int = 1,
        may_use_gpus: bool = True,
    ) -> None:
        self._ours: LocalCluster | None = None
        self._connected = False
        address = _address()
        self._ray = _import_ray(address)
        self._connect(address, gpus)
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
            _check_storage(command, nodes)
            slots = _slots(workers, size, processes, _rooms(nodes, may_use_gpus))
        except BaseException:
            self._disconnect()
            raise
        super().__init__(command, slots)
        self._resources = _resources(size, processes, bool(slots and slots[0].gpus))
        self.workers: dict[int, _Placed] = {}

    @classmethod
    def for_sweep(cls, command: WorkerCommand, spec: SweepSpec, gpus: int) -> Self:
        """See `Engine`."""
        on_cpu = get_key(spec.base, "trainer.accelerator") == "cpu"
        processes = processes_of(spec)
        return cls(command, spec.workers, spec.slot, gpus=gpus, processes=processes, may_use_gpus=not on_cpu)

    def _connect(self, address: str | None, gpus: int) -> None:
        if self._ray.is_initialized():
            return
        with _kept_signals():
            try:
                if address is None:
                    self._ours = LocalCluster(cpu_cores(), gpus)
                self._ray.init(address=self._ours.address if self._ours else address, **QUIET)
            except (ConnectionError, RuntimeError, ValueError) as error:
                self._disconnect()
                raise _unreachable(str(error).strip().splitlines()[0]) from error
        self._connected = True

    def _start(self, slot: Slot) -> None:
        options = {**self._resources, "max_concurrency": 4, "max_restarts": 0}
        log = self.log_of(slot.number).absolute()
        actor = self._ray.remote(WorkerActor).options(**options).remote(str(log.parent), log.name)
        self.workers[slot.number] = _Placed(actor, actor.begin.remote(), actor.run.remote(self._errand(slot)))

    def _errand(self, slot: Slot) -> Errand:
        passed_on = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        hidden = {} if slot.gpus else {"CUDA_VISIBLE_DEVICES": ""}  # Ray says which, but leaves all where none is asked
        return Errand(
            study=self.command.study,
            cwd=os.getcwd(),
            program=self.command.program,
            options=self.command.options(slot),
            environment={**passed_on, **self.command.environment(slot), **hidden},
        )

    @property
    def pending(self) -> set[int]:
        """Slots of workers that wait for room in the cluster."""
        return {number for number, placed in self.workers.items() if placed.host is None}

    def collect(self) -> list[Crash]:
        """Forgets workers that have ended; returns those of them that died."""
        self._greet()
        died = []
        for number, placed in list(self.workers.items()):
            if not self._is_ready(placed.ended):
                continue
            try:
                status = self._ray.get(placed.ended)
                how = None if status == 0 else how_ended(status)
            except self._ray.exceptions.ActorUnavailableError:  # Ray will say whether for good
                placed.ended = placed.actor.join.remote()
                continue
            except self._ray.exceptions.RayError as error:
                how = _how_lost(error)
            self._ray.kill(placed.actor)
            del self.workers[number]
            if how is not None:
                died.append(self._death(number, how, placed))
        return died

    def _death(self, number: int, how: str, placed: _Placed) -> Crash:
        if placed.host in (None, socket.gethostname()):
            log = self.log_of(number)
            return Crash(number, how, str(log), last_line(log))
        return Crash(number, how, f"{placed.host}:{placed.log}", "")

    def _greet(self) -> None:
        """Notes which actors have been placed."""
        for number in self.pending:
            placed = self.workers[number]
            if self._is_ready(placed.begun):
                with suppress(self._ray.exceptions.RayError):  # it died at once; its worker's call says so, too
                    placed.host, placed.log = self._ray.get(placed.begun)

    def _is_ready(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0)[0])

    def stop(self) -> None:
        """See `Engine`."""
        self._greet()
        waiting, grace_s = self.pending, self._take_grace_s()
        asked = [placed for number, placed in self.workers.items() if number not in waiting]
        for placed in asked:
            placed.actor.stop.remote()
        if asked:
            self._ray.wait([placed.ended for placed in asked], num_returns=len(asked), timeout=grace_s)
        for placed in self.workers.values():
            self._ray.kill(placed.actor)
        self.workers.clear()

    def close(self) -> None:
        """Stops what still runs, leaves the cluster, and ends it where it was started here."""
        try:
            self.stop()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            with _kept_signals():
                self._ray.shutdown()
        self._connected = False
        if self._ours is not None:
            self._ours.close()
            self._ours = None


def _address() -> str | None:
    """The cluster to join, by Ray's own rules; `None`: one is to be started.

    Raises:
        ConfigError: Nothing answers there, which Ray would take minutes to find out.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        address = _CURRENT_CLUSTER.read_text().strip() if _CURRENT_CLUSTER.exists() else "local"
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_WITHIN_S).close()
        except OSError as error:
            raise _unreachable(f"{address}: {error}") from None
    return None if address == "local" else address


def _unreachable(why: str) -> ConfigError:
    return ConfigError("--engine", f"must reach a Ray cluster ({why}); RAY_ADDRESS=local starts one")


def _import_ray(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        os.environ.update(ENVIRONMENT)
    try:
        import ray
        from ray._private import worker
    except ImportError as error:
        raise ConfigError(
            "--engine", f"ray needs Ray, which is not installed ({error.name}); pip install 'lit-sweeps[ray]'"
        ) from None
    worker.print_to_stdstream = _say_nothing  # no option keeps its paragraph on each dead actor off the console
    return ray


def _say_nothing(*_: object, **__: object) -> None: ...


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Takes back the handlers that Ray sets."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _check_storage(command: WorkerCommand, nodes: list[dict[str, Any]]) -> None:
    others = {node["NodeManagerHostname"] for node in nodes} - {socket.gethostname()}
    if others and not (command.url or "").startswith("postgresql"):
        raise ConfigError(
            "--storage",
            f"must be a database for workers on other machines ({', '.join(sorted(others))}); "
            "give --storage postgresql://...",
        )


def _rooms(nodes: list[dict[str, Any]], may_use_gpus: bool) -> list[tuple[int, int]]:
    """GPUs and CPU cores of each node."""
    resources = [node["Resources"] for node in nodes]
    return [(int(room.get("GPU", 0)) if may_use_gpus else 0, int(room.get("CPU", 0))) for room in resources]


def _slots(workers: int | None, size: SlotSize, processes: int, rooms: list[tuple[int, int]]) -> list[Slot]:
    """As many as the nodes hold; Ray says which GPUs are whose, so these are no more than whether there are any."""
    gpus, cores = sum(room[0] for room in rooms), sum(room[1] for room in rooms)
    check_devices(size, gpus, processes)
    # A node without GPUs has no room beside others that have some, unless trials use none.
    one = SlotSize(size.gpus or (1 if gpus else None), size.cpus)
    room = sum(fitting(one, *node, processes) for node in rooms)
    if room == 0:
        key, asked = ("gpus", size.gpus) if size.gpus is not None else ("cpus", size.cpus or processes)
        has = f"the largest node has {max(r[0] for r in rooms)} GPUs and {max(r[1] for r in rooms)} CPU cores to use"
        raise ConfigError(f"slot.{key}", f"must be what a node of the Ray cluster can hold; got {asked}, and {has}")
    count = room if workers is None else min(workers, room)
    threads = size.cpus or max(1, cores // room)
    return [Slot(number, (0,) if gpus else (), threads) for number in range(count)]


def _resources(size: SlotSize, processes: int, on_gpus: bool) -> dict[str, float]:
    """What Ray sets aside for a worker; for its cores, where its GPUs decide and the size names none, nothing."""
    gpus = (size.gpus or 1) if on_gpus else 0
    return {"num_gpus": gpus, "num_cpus": size.cpus or (0 if on_gpus else processes)}


def _how_lost(error: Exception) -> str:
    """What befell an actor, which Ray says in prose."""
    if "node has died" in str(error):
        return "is gone with its node"
    return f"is gone with its actor ({type(error).__name__})"
