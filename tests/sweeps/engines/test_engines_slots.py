"""Slots on machines that are not here: tables of GPUs, cores and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep_specs import tiny_spec

from lit_dl.config.overlay import overlay
from lit_dl.errors import ConfigError
from sweeps.engines.slots import Slot, cpu_cores, fitting, place_slots, processes_of, visible
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.spec import SlotSize

NOTHING = SlotSize()
# workers, size, GPUs, cores -> GPUs of each slot, threads of each
MACHINES = [
    (None, NOTHING, 4, 16, [(0,), (1,), (2,), (3,)], 4),
    (2, NOTHING, 4, 16, [(0,), (1,)], 8),
    (4, NOTHING, 2, 16, [(0,), (1,), (0,), (1,)], 4),
    (None, NOTHING, 0, 3, [(), (), ()], 1),
    (2, NOTHING, 0, 8, [(), ()], 4),
    (5, NOTHING, 0, 2, [()] * 5, 1),
    (None, SlotSize(gpus=1), 3, 7, [(0,), (1,), (2,)], 2),
    (None, SlotSize(gpus=0.25), 2, 16, [(0,)] * 4 + [(1,)] * 4, 2),
    (None, SlotSize(gpus=0.3), 1, 16, [(0,)] * 3, 5),
    (None, SlotSize(gpus=0.05), 1, 40, [(0,)] * 20, 2),
    (None, SlotSize(gpus=0.6), 2, 2, [(0,), (1,)], 1),
    (None, SlotSize(gpus=2), 5, 8, [(0, 1), (2, 3)], 4),
    (1, SlotSize(gpus=2), 8, 8, [(0, 1)], 8),
    (3, SlotSize(gpus=0.5), 2, 6, [(0,), (0,), (1,)], 2),
    (None, SlotSize(cpus=2), 0, 9, [()] * 4, 2),
    (None, SlotSize(cpus=8), 2, 9, [(0,)], 8),
    (None, SlotSize(cpus=1), 2, 9, [(0,), (1,)], 1),
    (4, SlotSize(cpus=2), 2, 9, [(0,), (1,), (0,), (1,)], 2),
    (None, SlotSize(gpus=0.25, cpus=3), 2, 16, [(0,)] * 4 + [(1,)], 3),
    (None, SlotSize(gpus=1, cpus=1), 2, 16, [(0,), (1,)], 1),
]
REFUSED = [
    (None, SlotSize(gpus=2), 1, 8, "slot.gpus", "got 2, and this machine has 1 GPU to use"),
    (None, SlotSize(gpus=0.5), 0, 8, "slot.gpus", "got 0.5, and this machine has 0 GPUs to use"),
    (None, SlotSize(cpus=4), 0, 3, "slot.cpus", "got 4, and this machine has 3 CPU cores to use"),
    (1, SlotSize(cpus=4), 0, 3, "slot.cpus", "got 4"),
    (3, SlotSize(gpus=1), 2, 8, "workers", "at most 2 with slot.gpus=1, as this machine has 2 GPUs to use; got 3"),
    (9, SlotSize(gpus=0.25), 2, 64, "workers", "at most 8 with slot.gpus=0.25"),
    (3, SlotSize(cpus=4), 0, 8, "workers", "at most 2 with slot.cpus=4"),
    (4, SlotSize(gpus=0.25, cpus=4), 1, 8, "workers", "at most 2 with slot.cpus=4"),
]


@pytest.mark.parametrize(("workers", "size", "gpus", "cores", "devices", "threads"), MACHINES)
def test_slots_of_a_machine(
    workers: int | None, size: SlotSize, gpus: int, cores: int, devices: list[tuple[int, ...]], threads: int
) -> None:
    expected = [Slot(number, own, threads) for number, own in enumerate(devices)]
    assert place_slots(workers, size, gpus, cores=cores) == expected


@pytest.mark.parametrize(("workers", "size", "gpus", "cores", "key", "says"), REFUSED)
def test_what_a_machine_does_not_hold_is_refused(
    workers: int | None, size: SlotSize, gpus: int, cores: int, key: str, says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        place_slots(workers, size, gpus, cores=cores)
    assert error.value.key == key
    assert says in error.value.problem


def test_no_gpu_is_given_away_twice() -> None:
    for gpus in range(1, 9):
        for tenths in range(1, 11):
            size = SlotSize(gpus=tenths / 10 if tenths < 10 else 1)
            slots = place_slots(None, size, gpus, cores=64)
            for gpu in range(gpus):
                assert sum(gpu in slot.gpus for slot in slots) * tenths <= 10
                assert sum(gpu in slot.gpus for slot in slots) == 10 // tenths


def test_a_launcher_that_only_watches_needs_no_room() -> None:
    assert place_slots(0, SlotSize(gpus=8), 0) == []


def test_a_trial_of_several_processes_has_a_core_for_each() -> None:
    assert place_slots(None, NOTHING, 0, processes=2, cores=9) == [Slot(number, (), 2) for number in range(4)]
    assert place_slots(None, SlotSize(cpus=6), 0, processes=2, cores=9) == [Slot(0, (), 6)]
    assert place_slots(2, NOTHING, 0, processes=2, cores=2) == [Slot(0, (), 1), Slot(1, (), 1)]
    assert place_slots(None, NOTHING, 0, processes=4, cores=2) == [Slot(0, (), 2)]


def test_several_processes_on_gpus_take_a_slot_of_as_many() -> None:
    assert place_slots(None, SlotSize(gpus=2), 4, processes=2, cores=8)[1].gpus == (2, 3)
    with pytest.raises(ConfigError, match=r"slot: \{gpus: 2\}"):
        place_slots(None, NOTHING, 4, processes=2, cores=8)


@pytest.mark.parametrize(
    ("devices", "slot", "expected"),
    [(None, {}, 1), ("auto", {}, 1), (2, {}, 2), ("3", {}, 3), ("auto", {"gpus": 2}, 2), (1, {"gpus": 0.5}, 1)],
)
def test_processes_of_a_trial(devices: object, slot: dict[str, float], expected: int, tmp_path: Path) -> None:
    given = tiny_spec(tmp_path, slot=slot)
    given["base"] = overlay(given["base"], {"trainer.devices": devices})
    assert processes_of(parse_spec(given, tmp_path, "tiny")) == expected


def test_without_a_word_slots_are_cores_of_this_process() -> None:
    assert place_slots(None, NOTHING, 0) == [Slot(number, (), 1) for number in range(cpu_cores())]


@pytest.mark.parametrize(
    ("mine", "gpus", "expected"),
    [
        (None, (0,), "0"),
        (None, (2, 3), "2,3"),
        (None, (), ""),
        ("4,7", (1,), "7"),
        ("GPU-8f2a, MIG-01c,GPU-77", (1, 2), "MIG-01c,GPU-77"),
        ("4,7", (), ""),
        ("", (), ""),
    ],
)
def test_a_worker_sees_its_own_gpus_alone(
    mine: str | None, gpus: tuple[int, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if mine is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mine)
    assert visible(gpus) == expected


def test_a_cluster_holds_what_its_nodes_hold() -> None:
    """Two GPUs of different machines are no slot of two."""
    assert [fitting(SlotSize(gpus=2), gpus, 16) for gpus in (3, 1, 0)] == [1, 0, 0]
