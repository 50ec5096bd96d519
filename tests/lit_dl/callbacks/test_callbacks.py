from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_dl.callbacks.epoch_seeds import EpochSeeds
from lit_dl.callbacks.predictions import PredictionTable
from lit_dl.callbacks.run_timing import RunTiming
from lit_dl.files import csv_text
from lit_dl.modules.regressor import Regressor
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.randomness import seed_epoch

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]


# Epoch table


def test_a_row_an_epoch_counted_from_1_and_handed_on(config: MakeConfig, train: Train) -> None:
    seen: list[Config] = []
    run, _ = train(config(trainer__max_epochs=3), on_row=seen.append)
    assert seen == run.rows
    assert [row["epoch"] for row in seen] == [1, 2, 3]
    assert 0 < seen[0]["elapsed_s"] < seen[1]["elapsed_s"] < seen[2]["elapsed_s"]


def test_the_file_is_whole_after_every_epoch(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    lengths: list[int] = []

    def read(row: Config) -> None:
        with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {name: float(value) for name, value in rows[-1].items()} == row
        lengths.append(len(rows))

    train(config(trainer__max_epochs=3), tmp_path / "run", on_row=read)
    assert lengths == [1, 2, 3]


def test_what_a_module_logs_at_the_end_of_its_epoch_is_in_the_row_of_that_epoch(
    config: MakeConfig, train: Train
) -> None:
    """`train/loss` is logged by the module's own hook, which Lightning calls after those of plain callbacks."""
    run, _ = train(config(trainer__max_epochs=1))
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} < set(run.rows[0])


def test_csv_has_the_keys_of_all_rows_and_empty_cells() -> None:
    rows = [{"epoch": 1, "a": 0.1}, {"epoch": 2, "b": None}, {"epoch": 3, "a": 1e-20, "b": "x,y"}]
    assert csv_text(rows) == 'epoch,a,b\n1,0.1,\n2,,\n3,1e-20,"x,y"\n'


def test_figures_in_csv_read_back_to_the_last_digit() -> None:
    value = 0.1 + 0.2
    assert float(csv_text([{"a": value}]).splitlines()[1]) == value


# Run timing


@pytest.mark.parametrize(
    ("part", "others"),
    [("train", ("validate", "data")), ("validate", ("train", "data")), ("data", ("train", "validate"))],
)
def test_time_is_counted_where_it_goes(part: str, others: tuple[str, str]) -> None:
    timing = RunTiming()
    pause = {"data": 0, "train": 0, "validate": 0}
    pause[part] = 1
    timing.on_train_epoch_start()
    for _ in range(3):
        time.sleep(0.03 * pause["data"])
        timing.on_train_batch_start()
        time.sleep(0.03 * pause["train"])
        timing.on_train_batch_end()
    timing.on_validation_start()
    time.sleep(0.03 * pause["validate"])
    timing.on_validation_end()
    time.sleep(0.03)  # checkpoints, loggers: in none of the three
    timing.on_train_epoch_start()
    expected = 0.03 if part == "validate" else 0.09
    assert expected <= getattr(timing, f"{part}_s") < expected + 0.05
    assert all(getattr(timing, f"{other}_s") < 0.02 for other in others)


def test_the_parts_of_a_run_fit_into_its_whole(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    _, result = train(config(trainer__max_epochs=3), tmp_path / "run")
    seconds = dict(result.seconds)
    total = seconds.pop("total")
    assert all(seconds[part] > 0 for part in ("train", "validate", "data", "checkpoint"))
    assert sum(seconds.values()) <= total


def test_peak_memory_is_that_of_the_process() -> None:
    import psutil

    timing = RunTiming()
    module = SimpleNamespace(device=torch.device("cpu"))
    timing.on_train_epoch_end(None, module)  # type: ignore[arg-type]
    assert timing.peak_memory_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    timing.peak_memory_bytes = peak = 10**15
    timing.on_train_epoch_end(None, module)  # type: ignore[arg-type]
    assert timing.peak_memory_bytes == peak


# Epoch seeds


def test_every_epoch_starts_from_the_seed_of_the_run_and_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    trainer: Any = SimpleNamespace(current_epoch=2, global_rank=0, world_size=1)
    EpochSeeds().on_train_epoch_start(trainer, torch.nn.Identity())  # type: ignore[arg-type]
    drawn = torch.rand(3)
    seed_epoch(5, 3)
    assert torch.equal(torch.rand(3), drawn)


def test_a_run_sets_the_generators_at_the_start_of_its_epochs(config: MakeConfig, train: Train) -> None:
    class Draws(Callback):
        drawn: list[float]

        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.fit_loop.epoch_loop.batch_idx == 0:
                self.drawn.append(float(torch.rand(())))

    draws = Draws()
    draws.drawn = []
    train(config(seed_everything=5), callbacks=[draws])
    expected = []
    for epoch in (1, 2):
        seed_epoch(5, epoch)
        expected.append(float(torch.rand(())))
    assert draws.drawn == expected


# Predictions


def predictions(path: Path, batches: list[Any], module: LightningModule | None = None) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=True)
    PredictionTable(path).write_on_epoch_end(trainer, module or LightningModule(), batches, [])


def test_values_of_a_regressor_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    module = Regressor(network=NetworkConfig(depth=0, input_shape=[1], outputs=2))
    predictions(path, [torch.tensor([[1.5, -0.1234567]]), torch.tensor([[0.0, 2.0]])], module)
    assert list(csv.DictReader(path.read_text().splitlines())) == [
        {"sample": "0", "value_1": "1.5", "value_2": "-0.123457"},
        {"sample": "1", "value_1": "0.0", "value_2": "2.0"},
    ]


def test_one_row_a_sample_over_all_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "predictions.csv"
    predictions(path, [torch.tensor([[0.1, 0.9], [0.75, 0.25]]), torch.tensor([[0.3333333, 0.6666667]])])
    assert path.read_text() == "sample,class,probability\n0,1,0.9\n1,0,0.75\n2,1,0.666667\n"
    assert capsys.readouterr().out == f"3 predictions in {path}\n"


@pytest.mark.parametrize(
    ("batches", "table"),
    [
        ([torch.tensor([1.0, 2.0]), torch.tensor([0.25])], "sample,value\n0,1.0\n1,2.0\n2,0.25\n"),
        ([torch.tensor([[1, -2], [3, 4]])], "sample,value_1,value_2\n0,1,-2\n1,3,4\n"),  # no shares
        ([torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 3.0]])], "sample,value_1,value_2\n0,0.5,0.5\n1,2.0,3.0\n"),
        ([{"a": torch.tensor([1]), "b": torch.tensor([[0.5, 0.5]])}], "sample,a,b_1,b_2\n0,1,0.5,0.5\n"),
        ([(torch.tensor([1, 2]), ["x", "y"])], "sample,value_1,value_2\n0,1,x\n1,2,y\n"),
        ([["cat", "dog"]], "sample,value\n0,cat\n1,dog\n"),
        ([torch.tensor([True]).bool()], "sample,value\n0,True\n"),
        ([torch.tensor([1.5], dtype=torch.bfloat16)], "sample,value\n0,1.5\n"),
    ],
)
def test_outputs_of_any_table_form_are_written(tmp_path: Path, batches: list[Any], table: str) -> None:
    predictions(tmp_path / "predictions.csv", batches)
    assert (tmp_path / "predictions.csv").read_text() == table


@pytest.mark.parametrize(
    "batch", [torch.rand(2, 3, 4), {"mask": torch.rand(2, 5, 5)}, torch.tensor(1.0), (torch.rand(2), torch.rand(3))]
)
def test_outputs_without_a_row_a_sample_are_written_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: Any
) -> None:
    predictions(tmp_path / "predictions.csv", [batch, batch])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.pt"]
    torch.testing.assert_close(torch.load(tmp_path / "predictions.pt", weights_only=True), [batch, batch])
    assert "in " + str(tmp_path / "predictions.pt") + "; no table: predict_step returns " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([], "predict_step returns nothing"),
        ([None, None], "predict_step returns nothing"),
        ([object()], "predict_step returns object, not one value or one row of values a sample"),
        ([{"a": [object()]}], "predict_step returns object, not one value"),
    ],
)
def test_it_is_said_why_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batches: list[Any], why: str
) -> None:
    predictions(tmp_path / "predictions.csv", batches)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.startswith(f"no predictions are written: {why}")
