"""Places for trials on a machine: which devices each has, and how many there are."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lit_dl.errors import ConfigError
from sweeps.spec.spec import SlotSize, SweepSpec
from sweeps.spec.spec import processes_of as of_config


@dataclass(frozen=True)
class Slot:
    """A place for one trial.

    Args:
        number: From 0.
        gpus: Its GPUs, as indices into those that the launcher sees; several: a trial trains on all of them together.
        threads: CPU threads, for all processes of a trial.
    """

    number: int
    gpus: tuple[int, ...]
    threads: int


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_of(spec: SweepSpec) -> int:
    """How many processes a trial is: one for each device it trains on."""
    return spec.slot.devices or of_config(spec.base)


def fitting(size: SlotSize, gpus: int, cores: int, processes: int = 1) -> int:
    """Slots that a machine has room for: by its GPUs, by its cores where the size names them or there is no GPU, or by
    what there is less of.

    Args:
        size: Of a slot.
        gpus: GPUs of the machine that may be used.
        cores: Its CPU cores.
        processes: Of a trial that trains on several devices; without GPUs and `size.cpus`, each wants a core.
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
    return int(1 / share + 1e-9)  # 1 / 0.05 is a little less than 20 in some roundings


def place_slots(
    workers: int | None, size: SlotSize, gpus: int, processes: int = 1, cores: int | None = None
) -> list[Slot]:
    """Slots on this machine.

    Args:
        workers: How many; `None`: as many as fit. Without a size, and where only `size.cpus` is said as to GPUs, more
            than fit share what there is.
        size: Of a slot; says nothing: a GPU each, or a CPU core where there is none.
        gpus: GPUs that may be used.
        processes: Of a trial, when it trains on several devices.
        cores: CPU cores that may be used; `None`: those of this process.

    Raises:
        ConfigError: A slot larger than the machine, or more slots of a size than it holds.
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
    """Refuses trials of several processes on GPUs of which the slots would have too few.

    Raises:
        ConfigError: `trainer.devices` asks for GPUs, and `slot.gpus` does not say so.
    """
    if gpus and processes > 1 and size.devices != processes:
        raise ConfigError(
            "trainer.devices", f"must go with slot.gpus on GPUs; got {processes}; add slot: {{gpus: {processes}}}"
        )


def _check_room(workers: int | None, size: SlotSize, gpus: int, cores: int) -> None:
    """What is said of the size is kept; what is not is shared."""
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
    """GPUs of a slot: neighbours, each of which is filled before the next; in turn when there are more slots."""
    if not gpus:
        return ()
    if each < 1:
        return (number // _sharers(each) % gpus,)
    return tuple((number * int(each) + offset) % gpus for offset in range(int(each)))


def visible(gpus: tuple[int, ...]) -> str:
    """`CUDA_VISIBLE_DEVICES` for a worker that has these GPUs, when the launcher itself may see only some."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in mine.split(",")] if mine else []
    return ",".join(names[gpu] if names else str(gpu) for gpu in gpus)
