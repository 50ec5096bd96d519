from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from resumable import compare, run_in

from lit_dl import files
from lit_dl.files import retry_on_full_disk, write_bytes, write_text
from lit_dl.run.checkpoint_io import AtomicCheckpointIO

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def test_a_reader_sees_the_old_file_or_the_new_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old ü")
    with path.open(encoding="utf-8") as reader:
        write_text(path, "new", durable=True)
        assert reader.read() == "old ü"
    assert path.read_text(encoding="utf-8") == "new"
    write_bytes(path, memoryview(b"\x00\xff"))
    assert path.read_bytes() == b"\x00\xff"
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "input/output error")

    path = tmp_path / "status.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800", durable=durable)
    monkeypatch.setattr(os, "fsync" if durable else "replace", fail)
    if not durable:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="input/output error"):
        write_text(path, "new", durable=durable)
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


# A full disk


class FullDisk:
    """A disk that is full for some writes.

    Args:
        times: How many fail.
        number: The error's number.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, number: int = errno.ENOSPC) -> None:
        self.times, self.number = times, number
        self.pauses: list[float] = []
        self.synced = os.fsync
        monkeypatch.setattr(files.os, "fsync", self.fsync)
        monkeypatch.setattr(files, "sleep", self.pauses.append)

    def fsync(self, descriptor: int) -> None:
        if self.times > 0:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        self.synced(descriptor)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    disk = FullDisk(monkeypatch, 9, number)
    path = tmp_path / "metrics.csv"
    write_text(path, "epoch\n", durable=True)
    assert path.read_text() == "epoch\n"
    assert disk.pauses[0] == 1
    assert disk.pauses == sorted(disk.pauses)
    assert disk.pauses[-1] == 10
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: no space left on the device; waiting for space",
        f"{path}: written; going on",
    ]


def test_what_need_not_survive_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_text(tmp_path / "status.json", "{}")
    assert not list(tmp_path.iterdir())


def test_it_waits_although_its_message_cannot_be_written_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    FullDisk(monkeypatch, 1)
    monkeypatch.setattr("builtins.print", full)
    write_text(tmp_path / "x", "x", durable=True)
    assert (tmp_path / "x").read_text() == "x"


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        retry_on_full_disk(tmp_path, lambda: write_bytes(tmp_path / "none" / "x", b""))


def test_a_run_pauses_while_the_disk_is_full(
    config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fills(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            disk.times = 3 if trainer.current_epoch == 1 else 0

    settings = config(trainer__max_epochs=3)
    whole = run_in(settings, tmp_path / "whole")
    disk = FullDisk(monkeypatch, 0)
    parts = run_in(settings, tmp_path / "parts", [Fills()])
    assert len(disk.pauses) == 3
    compare(parts, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little space."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_epoch_start", "on_train_epoch_end", "on_train_end"])
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_space(
    config: MakeConfig,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hook: str,
) -> None:
    filler = small_disk / "filler"
    pauses: list[float] = []

    def fill(trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch > 0 or hook == "on_fit_start":
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"\0" * 4096):
                    pass

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) % 2 == 0:
            filler.unlink()  # someone makes room

    monkeypatch.setattr(files, "sleep", pause)
    callback = Callback()
    setattr(callback, hook, fill)
    settings = config(trainer__max_epochs=3)
    parts = run_in(settings, small_disk / "run", [callback])
    assert pauses
    assert "no space left on the device; waiting for space" in capsys.readouterr().out
    compare(parts, run_in(settings, tmp_path / "whole"))
    assert not list((small_disk / "run").rglob(".*"))


# Checkpoints


def test_a_checkpoint_never_touches_another_file_system(
    config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file elsewhere")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    run_in(config(), tmp_path / "run")
    assert torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt")["epoch"] in (0, 1)
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_checkpoint_that_fails_to_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="input/output error"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_way_of_the_users_own_to_save_stays(config: MakeConfig) -> None:
    from lightning.pytorch.plugins.io import TorchCheckpointIO

    from lit_dl.run.run import Run

    class Own(TorchCheckpointIO):
        pass

    from foreign import Scripted

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    own = Own()
    run = Run(Scripted([1.0]), None, {**quiet, "max_epochs": 1, "plugins": [own]}, {}, None)
    assert run.trainer.strategy.checkpoint_io is own
    ours = Run(Scripted([1.0]), None, {**quiet, "max_epochs": 1}, {}, None)
    assert isinstance(ours.trainer.strategy.checkpoint_io, AtomicCheckpointIO)
