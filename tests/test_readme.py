"""The README's own commands, in its order, beginning with the quickstart on full MNIST.

Of sweeps that take many minutes everything is run but the trials.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from paths import REPOSITORY
from sweep_specs import tiny_spec

from sweeps.results import read_results
from sweeps.spec.parse_spec import parse_spec

README = (REPOSITORY / "README.md").read_text()
INSTALLS = ("python3 -m venv", ".venv/bin/pip", "source ", ".venv/bin/python -m pytest", "python -m pytest")


def commands() -> list[str]:
    """Every command in a shell block, without those that install or run this suite."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part.removeprefix(".venv/bin/") for part in parts if part and not part.startswith(INSTALLS)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "examples"):
        shutil.copytree(REPOSITORY / name, folder / name)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(command)
    modules = {"sweeps": ["-m", "sweeps"], "lit-dl": ["-m", "lit_dl"], "python": []}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "WANDB_MODE": "offline"}
    arguments = [sys.executable, *modules[program], *words]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_first_command_is_the_quickstart() -> None:
    assert commands()[0] == "sweeps launch configs/sweeps/quickstart.yaml"


@pytest.mark.parametrize("command", dict.fromkeys(commands()))
def test_a_command_of_the_readme_runs(clone: Path, command: str) -> None:
    is_long = "published" in command or "vanishing" in command
    if command.startswith("python tests/faults"):  # which tests/faults/test_faults.py runs in short
        done = run(f"{command} --help", REPOSITORY)
    else:
        done = run(f"{command} --dry_run" if is_long else command, clone)
    assert done.returncode == 0, done.stderr
    if command.startswith("sweeps launch configs/sweeps/quickstart.yaml"):
        rows = read_results(clone / "runs" / "quickstart")
        assert [row["number"] for row in rows] == list(range(12))
        assert max(row["value"] for row in rows if row["state"] == "COMPLETE") >= 0.975
        assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
        assert list((clone / "runs" / "quickstart" / "trials").glob("*/wandb/offline-run-*/*.wandb"))
    if "perceptron_and" in command or "mlp_xor" in command:
        assert " is solved" in done.stdout
    if command.startswith("sweeps replay"):
        assert "the same to the last digit" in done.stdout


def test_the_specs_of_the_readme_parse(tmp_path: Path) -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)]
    assert len(blocks) == 2
    for block in blocks:
        given = {**block, "base": tiny_spec(tmp_path)["base"]} if isinstance(block["base"], str) else block
        assert len(parse_spec(given, tmp_path, "readme").space) == len(block["space"])
