"""A run that is one of several ranks: who writes, and what all agree on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from paths import SUPPORT
from resumable import foreign
from test_ddp import start
from torchmetrics import MeanMetric

from lit_dl.cli.lit_cli import build_run
from lit_dl.run.run_result import RunLocation
from lit_dl.run.sync_logging import sync_logging

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


class Recording(LightningModule):
    """Keeps what it is told to log."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, dict[str, Any]] = {}

    def log(self, name: str, value: Any, *args: Any, sync_dist: bool = False, **options: Any) -> None:
        self.logged[name] = {"sync_dist": sync_dist, **options}


def test_numbers_are_averaged_unless_they_are_of_rank_zero_alone() -> None:
    module = Recording()
    sync_logging(module)
    module.log("loss", torch.tensor(1.0))
    module.log("count", 3, sync_dist=False)
    module.log("metric", MeanMetric())
    module.log("own", 1.0, rank_zero_only=True)
    module.log_dict({"a": 1.0, "b": torch.tensor(2.0)}, on_epoch=True)
    synced = {name: options["sync_dist"] for name, options in module.logged.items()}
    assert synced == {"loss": True, "count": True, "metric": False, "own": False, "a": True, "b": True}
    assert module.logged["a"]["on_epoch"] is True


def test_positional_arguments_of_log_stay_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def log(self: Any, name: str, value: Any, *args: Any, **options: Any) -> None:
        given.update(name=name, value=value, args=args, options=options)

    monkeypatch.setattr(LightningModule, "log", log)
    module = LightningModule()
    sync_logging(module)
    module.log("loss", 1.0, True)
    assert given == {"name": "loss", "value": 1.0, "args": (True,), "options": {"sync_dist": True}}
    module.log("loss", 1.0, False, None, None, None, "mean", False, False)
    assert given["options"] == {}


@pytest.mark.parametrize("rank", [0, 1])
def test_only_rank_zero_writes_and_knows_so_before_it_trains(
    config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": 29999}
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "t"}.items():
        monkeypatch.setenv(name, str(value))
    run = build_run(config(trainer__devices=2), RunLocation(tmp_path / "run", "run", wandb="offline"))
    assert (run.trainer.world_size, run.trainer.is_global_zero) == (2, rank == 0)
    run.open()
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    assert written == (["run/config.yaml", "run/wandb"] if rank == 0 else [])
    assert (run.tracker is not None) == (rank == 0)
    run.close(failed=True)


def test_a_module_of_someone_elses_alone_stays_as_it_is() -> None:
    run = build_run(foreign("plateau"))
    assert "log" not in vars(run.module)


def test_two_ranks_of_a_foreign_module_decide_alike_and_resume_alike(tmp_path: Path) -> None:
    settings = foreign("plateau")
    settings["trainer"] |= {"max_epochs": 12, "devices": 2}
    settings["early_stopping"] = {"monitor": "val_loss", "patience": 2, "min_delta": 0.5}
    settings["checkpoint"] = {"monitor": "val_loss"}
    program = str(SUPPORT / "resumable.py")
    start(2, [program, str(tmp_path), json.dumps(settings)], tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    rows, best, stopped = first
    assert (stopped, best) == ("early_stopping", len(rows))
    assert 3 <= len(rows) < 12
