"""Bad input of `lit-dl`: one line that says where, what was given and what to do; nothing is started or written."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from bad_input.case import Command
from bad_input.commands import LIT_DL_COMMANDS
from bad_input.run_values import RUN_VALUES, Value
from bad_input.sweep import ValidSweep, base_config, check_line, resolved_text, valid_sweep

from lit_dl.cli.command import main
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.overlay import overlay
from lit_dl.config.yaml_io import parse_yaml
from lit_dl.errors import ConfigError


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidSweep]:
    with valid_sweep(tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("command", LIT_DL_COMMANDS, ids=str)
def test_a_command_refuses(
    command: Command, sweep: ValidSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep.folder / "given/typo.yaml").write_text("model: {network: {widht: 8}}\n")
    monkeypatch.setattr(sys, "argv", ["lit-dl", *shlex.split(command.argv)])
    setting = command.setting(sweep.folder, resolved_text()) if command.setting else nullcontext()
    with setting, sweep.unchanged(), pytest.raises(SystemExit) as stop:
        main()
    text = capsys.readouterr().err
    assert text.endswith("\n")
    check_line(text[:-1], command.starts, command.says)
    assert stop.value.code == 2


@pytest.mark.parametrize("value", RUN_VALUES, ids=str)
def test_a_value_is_refused(value: Value, sweep: ValidSweep) -> None:
    keys = {key: parse_yaml(text, key) for key, text in value.keys.items()}
    with sweep.unchanged(), pytest.raises(ConfigError) as caught:
        build_run(overlay(base_config() if value.has_base else {}, keys)).check()
    check_line(str(caught.value), value.starts, value.says)
