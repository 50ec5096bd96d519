"""Engine that runs the workers as actors of a Ray cluster: an existing one, or one that it starts for the sweep."""

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
from sweeps.engines.ray_actor import ActorCommand, WorkerActor
from sweeps.engines.ray_cluster import ENVIRONMENT, QUIET, LocalCluster
from sweeps.engines.slots import Slot, check_devices, cpu_cores, fitting, processes_of
from sweeps.spec.spec import SlotSize, SweepSpec

_PASSED_ON = ("WANDB_", "PYTHONPATH", "SWEEPS_")  # variables that workers on other machines need too
_ANSWER_WITHIN_S = 5.0
_CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # written by `ray start`


@dataclass
class _ActorHandle:
    """An actor, and the references to the results of its calls."""

    actor: Any
    placed: Any
    """Result of `begin`: ready when Ray has placed the actor."""
    ended: Any
    """Result of `run`: ready when the worker has ended."""
    host: str | None = None
    """Host of the actor; `None` while it waits for a place."""
    log: str = ""


class RayEngine(Engine):
    """Runs each worker in an actor, which Ray places on a node that has room for a slot.

    Args:
        command: Arguments of the workers.
        workers: Maximal number of workers; `None`: as many as the cluster has room for.
        size: Size of a slot.
        gpus: Number of GPUs of this machine that a cluster started here may use.
        processes: Number of processes of a trial, when it trains on several devices.
        may_use_gpus: Whether trials may run on GPUs of an existing cluster.

    Raises:
        ConfigError: Ray is not installed; no cluster answers at `RAY_ADDRESS`; no node can hold a slot; or the cluster
            has other machines, and the study is in a file of this machine.
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
        self.workers: dict[int, _ActorHandle] = {}

    @classmethod
    def for_sweep(cls, command: WorkerCommand, spec: SweepSpec, gpus: int) -> Self:
        """See `Engine`."""
        on_cpu = get_key(spec.base, "trainer.accelerator") == "cpu"
        processes = processes_of(spec)
        return cls(command, spec.workers, spec.slot, gpus=gpus, processes=processes, may_use_gpus=not on_cpu)

    def _connect(self, address: str | None, gpus: int) -> None:
        if self._ray.is_initialized():
            return
        with _own_signal_handlers():
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
        ended = actor.run.remote(self._actor_command(slot))
        self.workers[slot.number] = _ActorHandle(actor, actor.begin.remote(), ended)

    def _actor_command(self, slot: Slot) -> ActorCommand:
        passed_on = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        # Ray sets the variable for an actor with GPUs; an actor without would see all of them.
        hidden = {} if slot.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return ActorCommand(
            study=self.command.study,
            cwd=os.getcwd(),
            program=self.command.program,
            options=self.command.options(slot),
            environment={**passed_on, **self.command.environment(slot), **hidden},
        )

    @property
    def pending(self) -> set[int]:
        """Returns the slots of workers that wait for room in the cluster."""
        return {number for number, handle in self.workers.items() if handle.host is None}

    def collect(self) -> list[Crash]:
        """Removes workers that have ended, and returns those that crashed."""
        self._note_placements()
        crashes = []
        for number, handle in list(self.workers.items()):
            if not self._is_ready(handle.ended):
                continue
            try:
                status = self._ray.get(handle.ended)
                how = None if status == 0 else how_ended(status)
            except self._ray.exceptions.ActorUnavailableError:  # perhaps only for a while: ask again
                handle.ended = handle.actor.join.remote()
                continue
            except self._ray.exceptions.RayError as error:
                how = _how_lost(error)
            self._ray.kill(handle.actor)
            del self.workers[number]
            if how is not None:
                crashes.append(self._crash(number, how, handle))
        return crashes

    def _crash(self, number: int, how: str, handle: _ActorHandle) -> Crash:
        if handle.host in (None, socket.gethostname()):
            log = self.log_of(number)
            return Crash(number, how, str(log), last_line(log))
        return Crash(number, how, f"{handle.host}:{handle.log}", "")

    def _note_placements(self) -> None:
        """Stores the hosts of actors that have been placed since the last call."""
        for number in self.pending:
            handle = self.workers[number]
            if self._is_ready(handle.placed):
                with suppress(self._ray.exceptions.RayError):  # it died at once; `collect` reports that
                    handle.host, handle.log = self._ray.get(handle.placed)

    def _is_ready(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0)[0])

    def stop(self) -> None:
        """See `Engine`."""
        self._note_placements()
        waiting, grace_s = self.pending, self._take_grace_s()
        asked = [handle for number, handle in self.workers.items() if number not in waiting]
        for handle in asked:
            handle.actor.stop.remote()
        if asked:
            self._ray.wait([handle.ended for handle in asked], num_returns=len(asked), timeout=grace_s)
        for handle in self.workers.values():
            self._ray.kill(handle.actor)
        self.workers.clear()

    def close(self) -> None:
        """Stops all workers, disconnects from the cluster, and ends it if this engine started it."""
        try:
            self.stop()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            with _own_signal_handlers():
                self._ray.shutdown()
        self._connected = False
        if self._ours is not None:
            self._ours.close()
            self._ours = None


def _address() -> str | None:
    """Returns the address of the cluster to join, by Ray's own rules; `None`: start a cluster.

    Raises:
        ConfigError: Nothing answers at that address. Ray itself would need minutes to notice.
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
    worker.print_to_stdstream = _say_nothing  # it prints a paragraph for each dead actor; no option stops that
    return ray


def _say_nothing(*_: object, **__: object) -> None: ...


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Restores the signal handlers of this process, which Ray replaces."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _check_storage(command: WorkerCommand, nodes: list[dict[str, Any]]) -> None:
    """Refuses a study in a file when the cluster has other machines.

    Raises:
        ConfigError: The study is in a file, and the cluster has other machines.
    """
    others = {node["NodeManagerHostname"] for node in nodes} - {socket.gethostname()}
    if others and not (command.url or "").startswith("postgresql"):
        raise ConfigError(
            "--storage",
            f"must be a database for workers on other machines ({', '.join(sorted(others))}); "
            "give --storage postgresql://...",
        )


def _rooms(nodes: list[dict[str, Any]], may_use_gpus: bool) -> list[tuple[int, int]]:
    """Returns the numbers of GPUs and CPU cores of each node."""
    resources = [node["Resources"] for node in nodes]
    return [(int(room.get("GPU", 0)) if may_use_gpus else 0, int(room.get("CPU", 0))) for room in resources]


def _slots(workers: int | None, size: SlotSize, processes: int, rooms: list[tuple[int, int]]) -> list[Slot]:
    """Returns as many slots as the nodes hold. Ray assigns the GPUs, so `Slot.gpus` says only whether there are any.

    Raises:
        ConfigError: No node can hold a slot.
    """
    gpus, cores = sum(room[0] for room in rooms), sum(room[1] for room in rooms)
    check_devices(size, gpus, processes)
    # Where any node has GPUs, a slot needs one, so nodes without GPUs have no room.
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
    """Returns the resources to reserve for a worker. A slot on GPUs reserves cores only if its size names them."""
    gpus = (size.gpus or 1) if on_gpus else 0
    return {"num_gpus": gpus, "num_cpus": size.cpus or (0 if on_gpus else processes)}


def _how_lost(error: Exception) -> str:
    """Describes the loss of an actor. Ray tells the reason only in the text of its error."""
    if "node has died" in str(error):
        return "is gone with its node"
    return f"is gone with its actor ({type(error).__name__})"
