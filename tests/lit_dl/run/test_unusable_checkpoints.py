"""A checkpoint that cannot be used: the run starts anew, says so, and leaves nothing of before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resumable import At, Interrupted, compare, run_in

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def spoiled(path: Path, how: str) -> None:
    checkpoint = path / "checkpoints" / "last.ckpt"
    saved = torch.load(checkpoint)
    if how == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    elif how == "empty":
        checkpoint.write_bytes(b"")
    elif how == "objects":
        torch.save({**saved, "callbacks": {"theirs": Path("/")}}, checkpoint)
    elif how == "a tensor":
        torch.save(torch.zeros(3), checkpoint)
    elif how == "of another program":
        torch.save({**saved, "callbacks": {}}, checkpoint)
    elif how == "another shape":
        name = next(iter(saved["state_dict"]))
        torch.save({**saved, "state_dict": {**saved["state_dict"], name: torch.zeros(1)}}, checkpoint)
    elif how == "another key":
        torch.save({**saved, "state_dict": {**saved["state_dict"], "more": torch.zeros(1)}}, checkpoint)
    elif how == "too few rows":
        lines = (path / "metrics.csv").read_text().splitlines(keepends=True)
        (path / "metrics.csv").write_text("".join(lines[:-1]))
    elif how == "no table":
        (path / "metrics.csv").unlink()
    elif how == "a torn table":
        (path / "metrics.csv").write_bytes(b"epoch,val/loss\n1,0.5\n2,0.")


SPOILED = {
    "torn": "last.ckpt cannot be loaded (",
    "empty": "last.ckpt cannot be loaded (EOFError",
    "objects": "last.ckpt cannot be loaded (UnpicklingError",
    "a tensor": "last.ckpt is no checkpoint of a run",
    "of another program": "last.ckpt is not of a run of lit_dl",
    "another shape": "last.ckpt is of another module; ",
    "another key": "last.ckpt is of another module; more ",
    "too few rows": "metrics.csv does not hold the 2 epochs of last.ckpt",
    "no table": "metrics.csv cannot be read (FileNotFoundError)",
    "a torn table": "",
}


@pytest.mark.parametrize("how", [how for how in SPOILED if SPOILED[how]])
def test_what_cannot_be_used_means_a_new_start_and_a_line(
    config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    settings = config()
    whole = run_in(settings, tmp_path / "run")
    spoiled(tmp_path / "run", how)
    capsys.readouterr()
    parts = run_in(settings, tmp_path / "run")
    assert parts["resumed_from"] is None
    compare(parts, whole)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path / 'run'}: starts anew: {SPOILED[how]}")


def test_a_checkpoint_of_another_config_is_not_used(
    config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in(config(), tmp_path / "run")
    settings = config(data__batch_size=10)
    parts = run_in(settings, tmp_path / "run")
    assert "starts anew: last.ckpt is of a run with another config" in capsys.readouterr().out
    compare(parts, run_in(settings, tmp_path / "other"))
    assert run_in({**settings, "threads": 2}, tmp_path / "run")["resumed_from"] == 2


def test_without_a_checkpoint_a_run_starts_anew_without_a_word(
    config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = run_in(config(), tmp_path / "run")
    assert parts["resumed_from"] is None
    assert capsys.readouterr().out == ""
    settings = config(checkpoint__last=False)
    run_in(settings, tmp_path / "no_last")
    assert run_in(settings, tmp_path / "no_last")["resumed_from"] is None


def test_nothing_of_before_is_left_when_a_run_starts_anew(config: MakeConfig, tmp_path: Path) -> None:
    run_in(config(), tmp_path / "run")
    spoiled(tmp_path / "run", "torn")
    with pytest.raises(Interrupted):
        run_in(config(), tmp_path / "run", [At("on_train_batch_start", 1)])
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "metrics.csv").exists()
