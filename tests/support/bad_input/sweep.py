"""A small valid sweep in the current folder, which the bad inputs change."""

from __future__ import annotations

import atexit
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sweeps.launcher
import sweeps.study.storage
from bad_input.case import BASE, DROP, SWEEP, Case
from sweeps.engines.local import LocalEngine
from sweeps.spec import preflight
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.preflight import check_spec, complete_base

SPEC: dict[str, Any] = {
    "base": "base.yaml",
    "objective": {"metric": "val/acc", "direction": "maximize"},
    "n_trials": 4,
    "check": "build",
    "space": {
        "model.optimizer.lr": {"low": 1e-3, "high": 0.1, "log": True},
        "model.network.activation": {"choices": ["relu", "tanh"]},
    },
}
# Words of other programs, which an error of ours must not hold.
_WORDS_OF_OTHERS = re.compile(
    r"Traceback|<class |typing\.|Subtypes|Parser key|Does not validate|Validation failed|NoneType"
)


@cache
def data_folder() -> Path:
    """A folder with 64 training and 16 test images of 8 by 8, and with two modules that cannot be imported."""
    folder = Path(tempfile.mkdtemp(prefix="bad-input-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part, count in (("train", 64), ("t10k", 16)):
        pixels = bytes(number * 7 % 256 for number in range(count * 64))
        labels = bytes(number % 10 for number in range(count))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, count, 8, 8) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, count) + labels)
    (folder / "strange_syntax.py").write_text("class Net(:\n")
    (folder / "strange_import.py").write_text("raise RuntimeError('no licence')\n")
    return folder


def base_config() -> dict[str, Any]:
    """The run config that all trials of the valid sweep start from."""
    return {
        "model": {"network": {"input_shape": [1, 8, 8], "width": 8}, "optimizer": {"name": "adam"}},
        "data": {"data_dir": str(data_folder()), "dataset": "idx", "batch_size": 16, "validation": 16},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }


@cache
def resolved_text() -> str:
    """What `spec.yaml` of the valid sweep holds."""
    with tempfile.TemporaryDirectory() as name:
        ValidSweep(Path(name)).write(Case("valid", ""))
        return check_spec(load_spec(Path(name) / SWEEP)).spec.dump()


@dataclass(frozen=True)
class ValidSweep:
    """The files of the sweep.

    Args:
        folder: Where they are.
    """

    folder: Path

    def write(self, case: Case) -> None:
        """Writes spec and base with the changes of a case."""
        base = base_config()
        for key, value in case.base.items():
            _set(base, key.split("."), value)
        spec = {**SPEC, "space": _changed(SPEC["space"], case.space)}
        texts = {BASE: case.base_text or yaml.safe_dump(base)}
        texts[SWEEP] = yaml.safe_dump(_changed(spec, case.spec)) if case.text is None else case.text
        for name, text in texts.items():
            content = text if isinstance(text, bytes) else text.replace("DATA", str(data_folder())).encode()
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_bytes(content)

    def files(self) -> dict[str, bytes]:
        """The content of all files, but for locks."""
        found = [path for path in sorted(self.folder.rglob("*")) if not path.name.endswith("lock")]
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fails when a file was written inside."""
        before = self.files()
        yield
        assert self.files() == before


def _changed(values: dict[Any, Any], changes: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in {**values, **changes}.items() if value is not DROP}


def _set(config: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        config = config.setdefault(part, {})
    if value is DROP:
        config.pop(path[-1], None)
    else:
        config[path[-1]] = value


_COMPLETE: dict[str, dict[str, Any]] = {}


def complete_once(base: dict[str, Any]) -> dict[str, Any]:
    """`complete_base`, once for each base: most cases have the same."""
    if repr(base) not in _COMPLETE:
        _COMPLETE[repr(base)] = complete_base(base)
    return deepcopy(_COMPLETE[repr(base)])


@contextmanager
def valid_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidSweep]:
    """The sweep in the current folder. Checks run in this process, and no worker may start."""

    def start(engine: LocalEngine) -> None:
        pytest.fail("a worker was started")

    monkeypatch.setattr(sweeps.launcher, "check_in_child", check_spec)
    monkeypatch.setattr(preflight, "complete_base", complete_once)
    monkeypatch.setattr(sweeps.study.storage, "_CONNECT_TIMEOUT_S", 5.0)
    monkeypatch.setattr(LocalEngine, "start", start)
    monkeypatch.setattr(sys, "path", [*sys.path, str(data_folder())])
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets these
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("NETRC", str(folder / "none"))  # nor a key for W&B
    monkeypatch.chdir(folder)
    found = ValidSweep(folder)
    found.write(Case("valid", ""))
    threads = torch.get_num_threads()
    yield found
    torch.set_num_threads(threads)


def check_line(text: str, starts: str, says: tuple[str, ...]) -> None:
    """One line, in our words, that says where, what was given and what to do."""
    assert not _WORDS_OF_OTHERS.search(text), text
    assert "\n" not in text, text
    assert text.startswith(starts), text
    for fragment in says:
        assert fragment in text, f"no {fragment!r} in: {text}"
