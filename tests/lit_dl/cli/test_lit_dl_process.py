"""`lit-dl` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

from forked import Forked, run_python
from paths import SUPPORT

from lit_dl.config.yaml_io import dump_yaml

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def test_the_command_runs_and_exits_with_0_and_bad_input_with_2_and_no_traceback(
    config_file: Path, tmp_path: Path
) -> None:
    words = ["-m", "lit_dl", "fit", "-c", str(config_file), "--run_dir"]
    done = run_python([*words, str(tmp_path / "out")], Path.cwd())
    refused = run_python([*words, str(tmp_path / "other"), "--model.netwrk.depth=3"], Path.cwd())
    assert (done.returncode, done.stderr) == (0, "")
    assert "max_epochs after 2 epochs" in done.stdout
    assert refused.returncode == 2
    assert refused.stderr == "model.netwrk.depth: no such key; did you mean 'model.network.depth'?\n"
    assert not (tmp_path / "other").exists()


def test_an_interrupted_fit_exits_with_130(config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(dump_yaml(config(trainer__max_epochs=1_000_000, early_stopping__patience=None)))
    process = Forked(["-m", "lit_dl", "fit", "-c", str(path), "--run_dir", str(tmp_path / "out")], Path.cwd())
    try:
        while "\nepoch" not in process.stdout:
            assert process.poll() is None
            sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
    finally:
        process.kill()
    assert "Traceback" not in process.stderr


def test_a_module_in_the_current_folder_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "here" / "mine_here.py").write_text("from foreign import Scripted as Mine\n")
    (tmp_path / "mine.yaml").write_text("model: {class_path: mine_here.Mine, figures: [1]}\n")
    argv = [str(Path(sys.executable).with_name("lit-dl")), "fit", "-c", str(tmp_path / "mine.yaml")]
    argv += ["--trainer.max_epochs=1", "--tracking.wandb=disabled", "--run_dir", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path / "here", env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "score 1.0000" in done.stdout
