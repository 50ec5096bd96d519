"""Slots: how many trials run at the same time on a machine, and which devices each of them has."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lit_dl.errors import ConfigError
from sweeps.spec.spec import SlotSize, SweepSpec
from sweeps.spec.spec import processes_of as of_config


@dataclass(frozen=True)
class Slot:
    """The devices of one worker, and so of one trial at a time.

    Args:
        number: Number of the slot, from 0.
        gpus: Its GPUs, as indices into those that the launcher sees; with several, a trial trains on all of them.
        threads: CPU threads, for all processes of a trial together.
    """

    number: int
    gpus: tuple[int, ...]
    threads: int


def cpu_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_of(spec: SweepSpec) -> int:
    """Returns the number of processes of a trial: one for each device it trains on."""
    return spec.slot.devices or of_config(spec.base)


def fitting(size: SlotSize, gpus: int, cores: int, processes: int = 1) -> int:
    """Returns the number of slots that a machine has room for.

    The GPUs limit it where there are any; the cores do where the size names them or there is no GPU.

    Args:
        size: Devices of a slot.
        gpus: GPUs of the machine that may be used.
        cores: CPU cores of the machine.
        processes: Processes of a trial; without GPUs and `size.cpus`, each needs a core.
    """
    counts = []
    if size.gpus is not None or gpus:
        counts.append(_by_gpus(size.gpus or 1, gpus))
    if size.cpus is not None or not counts:
        counts.append(cores // (size.cpus or processes))
    return min(counts)


def _by_gpus(each: float, gpus: int) -> int:
    return gpus // int(each) if each >= 1 else gpus * _sharers(each)


def _sharers(share: float) -> int:
    """Returns how many slots share a GPU."""
    return int(1 / share + 1e-9)  # rounding can make 1 / share a little less than a whole number


def place_slots(
    workers: int | None, size: SlotSize, gpus: int, processes: int = 1, cores: int | None = None
) -> list[Slot]:
    """Returns the slots on this machine.

    Args:
        workers: Number of slots; `None`: as many as fit. More than fit share the devices that the size does not name.
        size: Devices of a slot; when it names none, a slot has a GPU, or a CPU core where there is no GPU.
        gpus: GPUs that may be used.
        processes: Processes of a trial.
        cores: CPU cores that may be used; `None`: those of this process.

    Raises:
        ConfigError: A slot is larger than the machine, or the machine does not hold as many slots of this size.
    """
    if workers == 0:
        return []
    cores = cores or cpu_cores()
    check_devices(size, gpus, processes)
    _check_room(workers, size, gpus, cores)
    count = workers or max(1, fitting(size, gpus, cores, processes))
    threads = size.cpus or max(1, cores // count)
    return [Slot(number, _gpus_of(number, size.gpus or 1, gpus), threads) for number in range(count)]


def check_devices(size: SlotSize, gpus: int, processes: int) -> None:
    """Refuses trials of several processes whose slots have fewer GPUs than processes.

    Raises:
        ConfigError: `trainer.devices` asks for GPUs, and `slot.gpus` is not the same number.
    """
    if gpus and processes > 1 and size.devices != processes:
        raise ConfigError(
            "trainer.devices", f"must go with slot.gpus on GPUs; got {processes}; add slot: {{gpus: {processes}}}"
        )


def _check_room(workers: int | None, size: SlotSize, gpus: int, cores: int) -> None:
    """Refuses slots that this machine cannot hold. Devices that the size does not name are shared and not checked."""
    for key, asked, there, what in (("gpus", size.gpus, gpus, "GPU"), ("cpus", size.cpus, cores, "CPU core")):
        if asked is None:
            continue
        room = _by_gpus(asked, there)
        has = f"this machine has {there} {what}{'' if there == 1 else 's'} to use"
        if room == 0:
            raise ConfigError(f"slot.{key}", f"must be what this machine can hold; got {asked:g}, and {has}")
        if workers is not None and workers > room:
            raise ConfigError(
                "workers", f"must be at most {room} with slot.{key}={asked:g}, as {has}; got {workers}; or auto"
            )


def _gpus_of(number: int, each: float, gpus: int) -> tuple[int, ...]:
    """Returns the GPUs of a slot: neighbours, each filled before the next; surplus slots start again at GPU 0."""
    if not gpus:
        return ()
    if each < 1:
        return (number // _sharers(each) % gpus,)
    return tuple((number * int(each) + offset) % gpus for offset in range(int(each)))


def visible(gpus: tuple[int, ...]) -> str:
    """Returns `CUDA_VISIBLE_DEVICES` for a worker with these GPUs; the launcher itself may see only some of all."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in mine.split(",")] if mine else []
    return ",".join(names[gpu] if names else str(gpu) for gpu in gpus)
