"""The README's own commands, in its order, beginning with the quickstart on full MNIST.

Of sweeps that take many minutes everything is run but the trials. The quickstart as it stands takes two minutes of CPU
time, so by default it is shortened too; `.ci/run --all` runs the whole of it.
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
from forked import run_python
from paths import REPOSITORY
from sweep_specs import tiny_spec

from sweeps.results.files import read_results
from sweeps.spec.parse_spec import parse_spec

README = (REPOSITORY / "README.md").read_text()
QUICKSTART = "sweeps launch configs/sweeps/quickstart.yaml"
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


def run(command: str, folder: Path, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a command of the README, in a fresh interpreter as a user does or in a forked process."""
    program, *words = shlex.split(command)
    modules = {"sweeps": ["-m", "sweeps"], "lit-dl": ["-m", "lit_dl"], "python": []}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "WANDB_MODE": "offline"}
    arguments = [*modules[program], *words]
    if not fresh:
        return run_python(arguments, folder, environment)
    arguments.insert(0, sys.executable)
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def shortened(command: str) -> str:
    """The command with an option that leaves out what only takes time: trials of long sweeps, all but one epoch."""
    if command.startswith("python tests/faults") or "published" in command or "vanishing" in command:
        return f"{command} --dry_run"  # tests/faults/test_faults.py runs a short attack
    if command == QUICKSTART:
        return f"{command} --n_trials 6 --set trainer.max_epochs=1 trainer.limit_train_batches=0.3"
    if command.endswith("--engine ray"):
        return f"{command} --dry_run"  # tests/sweeps/engines/test_engines_ray.py runs sweeps on clusters
    if command.endswith("two_moons.yaml"):
        return f"{command} --n_trials 4"
    if "transfer.yaml" in command:
        return f"{command} --trainer.max_epochs 1"
    if "two_processes" in command:
        return f"{command} --n_trials 1 --set trainer.max_epochs=1"
    if command.startswith("lit-dl fit") and ("mnist_mlp" in command or "quickstart" in command):
        return command if "--help" in command else f"{command} --trainer.max_epochs 1"
    return command


def test_the_first_command_is_the_quickstart() -> None:
    assert commands()[0] == QUICKSTART


@pytest.mark.slow
def test_the_quickstart_as_it_stands(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone / "configs", tmp_path / "configs")
    done = run(QUICKSTART, tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "runs" / "quickstart")
    assert [row.number for row in rows] == list(range(12))
    assert max(row.value or 0 for row in rows if row.is_completed) >= 0.975
    assert {row.state for row in rows} <= {"COMPLETE", "PRUNED"}
    assert list((tmp_path / "runs" / "quickstart" / "trials").glob("*/wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize("command", dict.fromkeys(commands()))
def test_a_command_of_the_readme_runs(clone: Path, command: str) -> None:
    folder = REPOSITORY if command.startswith("python tests/") else clone
    done = run(shortened(command), folder)
    assert done.returncode == 0, done.stderr
    if command == QUICKSTART:
        rows = read_results(clone / "runs" / "quickstart")
        assert [row.number for row in rows] == list(range(6))
        assert max(row.value or 0 for row in rows) >= 0.9
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
