"""Every bad input gets one line in the design's form on stderr, no traceback and exit status 2; nothing is started."""

from __future__ import annotations

import os
import re
import shlex
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from bad_input_cases import (
    BASE,
    DROP,
    GOOD,
    LIT_DL_COMMANDS,
    RUN_DIR,
    SWEEP,
    SWEEPS_COMMANDS,
    TABLE,
    Case,
    Command,
    other_directions,
    used_folder,
)

_SPEC: dict[str, Any] = {
    "base": "base.yaml",
    "objective": {"metric": "val/acc", "direction": "maximize"},
    "n_trials": 4,
    "check": "build",
    "space": {
        "model.optimizer.lr": {"low": 1e-3, "high": 0.1, "log": True},
        "model.network.activation": {"choices": ["relu", "tanh"]},
    },
}
_STRANGE = '''
import torch
from lightning.pytorch import LightningModule


class NotAModule:
    pass


class Silent(LightningModule):
    """Trains and logs nothing.

    Args:
        units: Inputs.
    """

    def __init__(self, units: int = 4) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(units, 1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(4, 4), batch_size=2)

    val_dataloader = train_dataloader

    def training_step(self, batch):
        return self.layer(batch).sum()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Plain(Silent):
    def __init__(self):
        super().__init__()

    def training_step(self, batch):
        loss = super().training_step(batch)
        self.log("loss", loss)
        return loss


class NoOptimizer(Silent):
    def configure_optimizers(self):
        raise RuntimeError("no optimizer today")


class Odd(Silent):
    def __init__(self, units: int = 4) -> None:
        super().__init__(units)
        if units % 2:
            raise RuntimeError("units must be even")


class Leaves(Silent):
    def __init__(self, units: int = 4) -> None:
        raise SystemExit("good bye")


class Needs(Silent):
    def __init__(self, hidden: int) -> None:
        super().__init__()


class Fails(Silent):
    def training_step(self, batch):
        raise RuntimeError("shapes do not fit")
'''
# What other programs would say in our place.
_NOT_OUR_WORDS = re.compile(
    r"Traceback|<class |typing\.|Subtypes|Parser key|Does not validate|Validation failed|NoneType"
)


@dataclass(frozen=True)
class World:
    """A folder with a valid sweep, which is the current folder.

    Args:
        folder: The folder.
        data: Folder with IDX files and the user's modules.
        resolved: The resolved spec of the valid sweep.
    """

    folder: Path
    data: Path
    resolved: str

    def write(self, case: Case) -> None:
        """Writes spec and base with the changes of a case."""
        base = yaml.safe_load(_base_text(self.data))
        for key, value in case.base.items():
            _put(base, key.split("."), value)
        spec = {**_SPEC, "space": _changed(_SPEC["space"], case.space)}
        texts = {BASE: case.base_text or yaml.safe_dump(base)}
        texts[SWEEP] = yaml.safe_dump(_changed(spec, case.spec)) if case.text is None else case.text
        for name, text in texts.items():
            content = text if isinstance(text, bytes) else text.replace("DATA", str(self.data)).encode()
            (self.folder / name).write_bytes(content)

    def files(self) -> dict[str, bytes]:
        """All that is there, but for locks."""
        found = [path for path in sorted(self.folder.rglob("*")) if not path.name.endswith("lock")]
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}


def _changed(values: dict[Any, Any], changes: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in {**values, **changes}.items() if value is not DROP}


def _put(config: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        config = config.setdefault(part, {})
    if value is DROP:
        config.pop(path[-1], None)
    else:
        config[path[-1]] = value


def _base_text(data: Path) -> str:
    return yaml.safe_dump(
        {
            "model": {"network": {"input_shape": [1, 8, 8], "width": 8}, "optimizer": {"name": "adam"}},
            "data": {"data_dir": str(data), "dataset": "idx", "batch_size": 16, "validation": 16},
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 64 training and 16 test images of 8 by 8, and with modules of a user's."""
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 64), ("t10k", 16)):
        pixels = bytes(number * 7 % 256 for number in range(count * 64))
        labels = bytes(number % 10 for number in range(count))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, count, 8, 8) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, count) + labels)
    (folder / "strange.py").write_text(_STRANGE)
    (folder / "strange_syntax.py").write_text("class Net(:\n")
    (folder / "strange_import.py").write_text("raise RuntimeError('no licence')\n")
    return folder


@pytest.fixture(scope="module")
def resolved(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `spec.yaml` of the valid sweep holds."""
    from sweeps.spec.parse_spec import load_spec
    from sweeps.spec.preflight import check_spec

    folder = tmp_path_factory.mktemp("resolved")
    (folder / "base.yaml").write_text(_base_text(data))
    (folder / "sweep.yaml").write_text(yaml.safe_dump(_SPEC))
    return check_spec(load_spec(folder / "sweep.yaml")).spec.dump()


@pytest.fixture
def world(data: Path, resolved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The valid sweep in the current folder; checks run in this process, and no worker may start."""
    import torch

    import sweeps.launch
    import sweeps.study.storage
    from sweeps.engines.local import LocalEngine
    from sweeps.spec.preflight import check_spec

    def start(engine: LocalEngine) -> None:
        pytest.fail("a worker was started")

    monkeypatch.setattr(sweeps.launch, "check_in_child", check_spec)
    monkeypatch.setattr(sweeps.study.storage, "_CONNECT_TIMEOUT_S", 5.0)
    monkeypatch.setattr(LocalEngine, "start", start)
    monkeypatch.setattr(sys, "path", [*sys.path, str(data)])
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets these
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))  # nor a key for W&B
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    found = World(tmp_path, data, resolved)
    found.write(Case("valid", ""))
    threads = torch.get_num_threads()
    yield found
    torch.set_num_threads(threads)


def _sweeps(argv: list[str]) -> int | str | None:
    from sweeps.cli import main

    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


def _check_line(text: str, starts: str, says: tuple[str, ...]) -> None:
    """One line, in our words, that says where, what was given and what to do."""
    assert not _NOT_OUR_WORDS.search(text), text
    assert text.count("\n") == 1, text
    assert text.startswith(starts), text
    for fragment in says:
        assert fragment in text, f"no {fragment!r} in: {text}"


_CASES = [pytest.param(case, id=f"{group}-{case.name}") for group, cases in TABLE.items() for case in cases]


@pytest.mark.parametrize("case", _CASES)
def test_launch_refuses(
    case: Case, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(case)
    if case.lacks:
        monkeypatch.setitem(sys.modules, case.lacks, None)
    with case.setting(world.folder, world.resolved) if case.setting else nullcontext():
        before = world.files()
        code = _sweeps(["launch", SWEEP, *case.args])
        after = world.files()
    said = capsys.readouterr().err
    _check_line(said, case.starts, case.says)
    assert case.silent_about is None or case.silent_about not in said
    assert code == 2
    assert after == before


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_dry_run_takes(case: Case, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(case)
    with case.setting(world.folder, world.resolved) if case.setting else nullcontext():
        before = world.files()
        code = _sweeps(["launch", SWEEP, "--dry_run", *case.args])
        after = world.files()
    said = capsys.readouterr()
    assert said.err == ""
    assert code == 0
    assert said.out.startswith(case.starts)
    assert all(fragment in said.out for fragment in case.says)
    assert after == before


@pytest.mark.parametrize("command", SWEEPS_COMMANDS, ids=str)
def test_sweeps_refuses(command: Command, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with command.setting(world.folder, world.resolved) if command.setting else nullcontext():
        before = world.files()
        code = _sweeps(shlex.split(command.argv))
        after = world.files()
    text = capsys.readouterr().err
    _check_line(text.splitlines(keepends=True)[-1] if command.usage else text, command.starts, command.says)
    assert code == 2
    assert after == before


@pytest.mark.parametrize("command", LIT_DL_COMMANDS, ids=str)
def test_lit_dl_refuses(
    command: Command, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lit_dl.cli.command import main

    (world.folder / "given/typo.yaml").write_text("model: {network: {widht: 8}}\n")
    monkeypatch.setattr(sys, "argv", ["lit-dl", *shlex.split(command.argv)])
    with command.setting(world.folder, world.resolved) if command.setting else nullcontext():
        before = world.files()
        with pytest.raises(SystemExit) as stop:
            main()
        after = world.files()
    _check_line(capsys.readouterr().err, command.starts, command.says)
    assert stop.value.code == 2
    assert after == before


def _run(world: World, *argv: str) -> subprocess.CompletedProcess[str]:
    """`sweeps` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(world.data)}
    command = [sys.executable, "-m", "sweeps", *argv]
    return subprocess.run(command, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=100)


def test_process_refuses_a_typo(world: World) -> None:
    world.write(Case("typo", "", space={"model.network.widht": {"low": 4, "high": 8}}))
    before = world.files()
    done = _run(world, "launch", SWEEP)
    _check_line(done.stderr, "space.model.network.widht: ", ("no such key", "did you mean 'model.network.width'?"))
    assert (done.returncode, done.stdout) == (2, "")
    assert world.files() == before


def test_process_refuses_a_folder_in_use(world: World) -> None:
    with used_folder(world.folder, world.resolved):
        before = world.files()
        done = _run(world, "launch", SWEEP)
        after = world.files()
    _check_line(done.stderr, f"{RUN_DIR}: ", ("in use", f"process {os.getpid()} on "))
    assert (done.returncode, done.stdout) == (2, "")
    assert after == before


def test_process_refuses_a_storage_that_does_not_answer(world: World) -> None:
    """The server takes the connection and says nothing."""
    world.write(Case("quick", "", spec={"check": "parse"}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{server.getsockname()[1]}/db"
        before = world.files()
        done = _run(world, "launch", SWEEP, "--storage", url)
    _check_line(done.stderr, f"storage {url.replace('secret', '***')}: ", ("does not answer within",))
    assert done.returncode == 2
    assert world.files() == before


def test_process_refuses_other_directions(world: World) -> None:
    with other_directions(world.folder, world.resolved):
        before = world.files()
        done = _run(world, "launch", SWEEP, "--storage", "sqlite:///studies.db")
        after = world.files()
    _check_line(done.stderr, "study 'sweep': ", ("minimize", "maximize"))
    assert done.returncode == 2
    assert after == before


def test_checking_a_run_on_two_devices_does_not_start_the_command_again(world: World) -> None:
    """Lightning's launcher of several devices runs the command line of this process once more for each."""
    world.write(Case("two_devices", "", base={"trainer.devices": 2}, spec={"check": "step"}))
    done = _run(world, "launch", SWEEP, "--dry_run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("checked sweep") == 1
