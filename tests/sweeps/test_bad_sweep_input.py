"""Bad input of the commands of `sweeps`: one line on stderr and exit status 2; nothing is started or written.

`spec/test_bad_specs.py` has the specs; a few of every kind are repeated here, through the command.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from bad_input.case import RUN_DIR, SWEEP, Case, Command
from bad_input.classes import CLASSES
from bad_input.combinations import COMBINATIONS
from bad_input.commands import SWEEPS_COMMANDS
from bad_input.counts import COUNTS
from bad_input.files import FILES
from bad_input.folders import other_directions, used_folder
from bad_input.functions import FUNCTIONS
from bad_input.good import GOOD
from bad_input.launches import COMMAND_LINE, FOLDERS, LAUNCHES, STORAGES
from bad_input.plugins import PLUGINS
from bad_input.published import PUBLISHED
from bad_input.slots import SLOTS
from bad_input.space import CHOICES, PRESETS, RANGES, RUNS, WHEN
from bad_input.sweep import ValidSweep, check_line, data_folder, resolved_text, valid_sweep
from bad_input.types import TYPES
from bad_input.unknown_keys import UNKNOWN_KEYS
from bad_input.values import CONSTRAINTS, OBJECTIVES, VALUES
from forked import run_python

from sweeps.cli import main

# The first two of every kind of bad spec, and all that only a launch refuses.
KINDS = {
    "files": FILES,
    "unknown_keys": UNKNOWN_KEYS,
    "types": TYPES,
    "counts": COUNTS,
    "slots": SLOTS,
    "ranges": RANGES,
    "choices": CHOICES,
    "when": WHEN,
    "presets": PRESETS,
    "runs": RUNS,
    "functions": FUNCTIONS,
    "objectives": OBJECTIVES,
    "constraints": CONSTRAINTS,
    "values": VALUES,
    "classes": CLASSES,
    "plugins": PLUGINS,
    "published": PUBLISHED,
    "combinations": COMBINATIONS,
}
OF_A_LAUNCH = {"command_line": COMMAND_LINE, "folders": FOLDERS, "launches": LAUNCHES, "storages": STORAGES}
CASES = [
    *((f"{kind}-{case.name}", case) for kind, cases in KINDS.items() for case in cases[:2]),
    *((f"{kind}-{case.name}", case) for kind, cases in OF_A_LAUNCH.items() for case in cases),
]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidSweep]:
    with valid_sweep(tmp_path, monkeypatch) as made:
        yield made


def run(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


def check_stderr(text: str, starts: str, says: tuple[str, ...]) -> None:
    assert text.endswith("\n")
    check_line(text[:-1], starts, says)


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES])
def test_launch_refuses(
    case: Case, sweep: ValidSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write(case)
    if case.lacks:
        monkeypatch.setitem(sys.modules, case.lacks, None)
    with case.setting(sweep.folder, resolved_text()) if case.setting else nullcontext(), sweep.unchanged():
        code = run(["launch", SWEEP, *case.args])
    check_stderr(capsys.readouterr().err, case.starts, case.says)
    assert code == 2


@pytest.mark.parametrize("case", [*GOOD[:3], *(case for case in GOOD if case.args or case.setting)], ids=str)
def test_dry_run_accepts(case: Case, sweep: ValidSweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.write(case)
    with case.setting(sweep.folder, resolved_text()) if case.setting else nullcontext(), sweep.unchanged():
        code = run(["launch", SWEEP, "--dry_run", *case.args])
    said = capsys.readouterr()
    assert said.err == ""
    assert code == 0
    assert said.out.startswith(case.starts)
    assert all(fragment in said.out for fragment in case.says)


@pytest.mark.parametrize("command", SWEEPS_COMMANDS, ids=str)
def test_a_command_refuses(command: Command, sweep: ValidSweep, capsys: pytest.CaptureFixture[str]) -> None:
    with command.setting(sweep.folder, resolved_text()) if command.setting else nullcontext(), sweep.unchanged():
        code = run(shlex.split(command.argv))
    text = capsys.readouterr().err
    check_stderr(text.splitlines(keepends=True)[-1] if command.usage else text, command.starts, command.says)
    assert code == 2


# As a process, whose checks are in a child


def run_process(sweep: ValidSweep, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(data_folder())}
    return run_python(["-m", "sweeps", *argv], sweep.folder, environment, timeout=400)


def test_a_process_refuses_a_typo(sweep: ValidSweep) -> None:
    sweep.write(Case("typo", "", space={"model.network.widht": {"low": 4, "high": 8}}))
    with sweep.unchanged():
        done = run_process(sweep, "launch", SWEEP)
    hints = ("no such key", "did you mean 'model.network.width'?")
    check_stderr(done.stderr, "space.model.network.widht: ", hints)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_process_refuses_a_folder_in_use(sweep: ValidSweep) -> None:
    with used_folder(sweep.folder, resolved_text()), sweep.unchanged():
        done = run_process(sweep, "launch", SWEEP)
    check_stderr(done.stderr, f"{RUN_DIR}: ", ("in use", f"process {os.getpid()} on "))
    assert (done.returncode, done.stdout) == (2, "")


def test_a_process_refuses_a_storage_that_does_not_answer(sweep: ValidSweep) -> None:
    """The server takes the connection and says nothing."""
    sweep.write(Case("quick", "", spec={"check": "parse"}))
    with socket.create_server(("127.0.0.1", 0)) as server, sweep.unchanged():
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{server.getsockname()[1]}/db"
        done = run_process(sweep, "launch", SWEEP, "--storage", url)
    check_stderr(done.stderr, f"storage {url.replace('secret', '***')}: ", ("cannot be opened", "timeout"))
    assert done.returncode == 2


def test_a_process_refuses_other_directions(sweep: ValidSweep) -> None:
    sweep.write(Case("quick", "", spec={"check": "parse"}))
    with other_directions(sweep.folder, resolved_text()), sweep.unchanged():
        done = run_process(sweep, "launch", SWEEP, "--storage", "sqlite:///studies.db")
    check_stderr(done.stderr, "study 'sweep': ", ("minimize", "maximize"))
    assert done.returncode == 2


def test_checking_a_run_on_two_devices_does_not_start_the_command_again(sweep: ValidSweep) -> None:
    """Lightning's launcher of several devices runs the command line of this process once more for each."""
    sweep.write(Case("two_devices", "", base={"trainer.devices": 2}, spec={"check": "step"}))
    done = run_process(sweep, "launch", SWEEP, "--dry_run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("checked sweep") == 1
