from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import Weights, scripted
from lightning.pytorch import Callback
from torch import Tensor

from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.overlay import merge
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import ConfigError, DataError
from lit_dl.run.run import Run

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]


def figures(run: Run) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "elapsed_s"} for row in run.rows]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# What a run leaves


def test_the_run_folder(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    run, result = train(config(), tmp_path / "run")
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "run/checkpoints/best.ckpt",
        "run/checkpoints/last.ckpt",
        "run/config.yaml",
        "run/diagnostics.csv",
        "run/learning_curve_plot.png",
        "run/metrics.csv",
    ]
    assert result.best_checkpoint == tmp_path / "run" / "checkpoints" / "best.ckpt"
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == run.rows
    assert list(rows[0]) == ["epoch", "elapsed_s", "gradient_ratio", "train/acc", "train/loss", "val/acc", "val/loss"]
    assert load_yaml(tmp_path / "run" / "config.yaml") == run.config


def test_a_run_without_a_place_leaves_no_file(
    config: MakeConfig, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, result = train(config())
    assert list(tmp_path.iterdir()) == []
    assert (result.best_checkpoint, result.epochs) == (None, 2)


def test_the_result(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    run, result = train(config(trainer__max_epochs=3), tmp_path / "run")
    best = min(figures(run), key=lambda row: row["val/loss"])
    assert (result.stopped, result.epochs, result.best_epoch) == ("max_epochs", 3, best["epoch"])
    assert {"epoch": result.best_epoch, **result.metrics} == best
    assert {"epoch": 3, **result.final} == figures(run)[-1]
    assert result.parameters == 65 * 16 + 17 * 10
    assert 0 < result.seconds["train"] < result.seconds["total"]
    assert all(result.seconds[part] > 0 for part in ("validate", "data", "checkpoint"))
    assert 10_000_000 < result.peak_memory_bytes < 100_000_000_000


def test_the_last_checkpoint_may_be_left_out(train: Train, tmp_path: Path) -> None:
    train(scripted([1.0, 2.0], checkpoint={"monitor": "score", "last": False}), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["best.ckpt"]


# The best epoch


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 4)])
def test_the_best_epoch_is_restored(train: Train, tmp_path: Path, mode: str, best: int) -> None:
    settings = scripted([3.0, 1.0, 2.0, 5.0, 4.0], checkpoint={"monitor": "score", "mode": mode})
    run, result = train(settings, tmp_path / "run")
    assert (result.best_epoch, result.metrics["score"]) == (best, [3.0, 1.0, 2.0, 5.0, 4.0][best - 1])
    assert (result.epochs, result.final["score"]) == (5, 4.0)
    assert run.module.weight.item() == best
    saved = {name: torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt") for name in ("best", "last")}
    assert float(saved["best"]["state_dict"]["weight"]) == best
    assert float(saved["last"]["state_dict"]["weight"]) == 5


def test_the_first_of_equals_is_best_in_table_and_checkpoint_alike(train: Train, tmp_path: Path) -> None:
    run, result = train(scripted([2.0, 1.0, 1.0], checkpoint={"monitor": "score"}), tmp_path / "run")
    assert result.best_epoch == run.module.weight.item() == 2


def test_a_figure_that_is_no_number_is_never_best(train: Train, tmp_path: Path) -> None:
    settings = scripted([float("nan"), 2.0, float("nan")], checkpoint={"monitor": "score"})
    run, result = train(settings, tmp_path / "run")
    assert result.best_epoch == run.module.weight.item() == 2


def test_our_own_model_keeps_the_epoch_of_least_validation_loss(
    config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    kept = Weights()
    settings = config(model__optimizer__lr=2.0, trainer__max_epochs=6)
    run, result = train(settings, tmp_path / "run", callbacks=[kept])
    losses = [row["val/loss"] for row in figures(run)]
    assert result.best_epoch == losses.index(min(losses)) + 1 < 6
    assert same(run.module.state_dict(), kept.epochs[result.best_epoch - 1])


def test_a_training_figure_is_compared_with_the_weights_of_its_own_epoch(
    config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    kept = Weights()
    settings = config(model__optimizer__lr=2.0, trainer__max_epochs=6, checkpoint__monitor="train/loss")
    run, result = train(settings, tmp_path / "run", callbacks=[kept])
    losses = [row["train/loss"] for row in figures(run)]
    assert result.best_epoch == losses.index(min(losses)) + 1
    assert same(run.module.state_dict(), kept.epochs[result.best_epoch - 1])


def test_a_foreign_module_without_monitor_keeps_its_last_epoch(train: Train, tmp_path: Path) -> None:
    run, result = train(scripted([1.0, 2.0, 3.0]), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]
    assert (result.best_epoch, result.metrics["score"], run.module.weight.item()) == (3, 3.0, 3.0)
    assert (run.recorder.early_stopping, run.recorder.monitor) == (None, None)


# Early stopping


@pytest.mark.parametrize(
    ("script", "stopping", "epochs"),
    [
        ([3.0, 2.0, 2.5, 2.4, 2.3, 1.0], {"patience": 2}, 4),
        ([3.0, 2.0, 2.5, 1.9, 2.3, 2.0, 1.0], {"patience": 2}, 6),
        ([3.0, 2.95, 2.9, 2.0, 1.0], {"patience": 2, "min_delta": 0.5}, 3),
        ([1.0, 2.0, 1.5, 1.0, 3.0], {"patience": 1, "mode": "max"}, 3),
    ],
)
def test_training_stops_after_epochs_without_improvement(
    train: Train, script: list[float], stopping: Config, epochs: int
) -> None:
    _, result = train(scripted(script, early_stopping={"monitor": "score", **stopping}))
    assert (result.stopped, result.epochs) == ("early_stopping", epochs)


@pytest.mark.parametrize("stopping", [{"monitor": "score", "patience": None}, {"patience": 1}])
def test_early_stopping_is_off_without_patience_and_for_foreign_modules_without_monitor(
    train: Train, stopping: Config
) -> None:
    _, result = train(scripted([1.0, 2.0, 3.0, 4.0], early_stopping=stopping))
    assert (result.stopped, result.epochs) == ("max_epochs", 4)


def test_our_own_model_stops_on_its_validation_loss(config: MakeConfig, train: Train) -> None:
    run, result = train(config(model__optimizer__lr=2.0, trainer__max_epochs=30, early_stopping__patience=2))
    losses = [row["val/loss"] for row in figures(run)]
    best = losses.index(min(losses))
    assert (result.stopped, result.epochs) == ("early_stopping", best + 3)


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_figure_that_is_not_finite_stops_at_once(train: Train, epoch: int, figure: float) -> None:
    script = [1.0] * (epoch - 1) + [figure] + [1.0] * 3
    _, result = train(scripted(script, early_stopping={"monitor": "score"}))
    assert (result.stopped, result.epochs) == ("early_stopping", epoch)


def test_a_limit_of_time_or_steps_is_neither(train: Train) -> None:
    settings = scripted([1.0, 2.0, 3.0])
    settings["trainer"]["max_steps"] = 2
    _, result = train(settings)
    assert (result.stopped, result.epochs) == ("stopped", 2)


def test_a_limit_within_the_first_epoch_ends_the_run_before_its_first_validation(
    config: MakeConfig, train: Train
) -> None:
    _, result = train(config(model__steps_per_execution=1, trainer__max_steps=5))
    assert (result.stopped, result.epochs, result.best_epoch) == ("stopped", 1, None)
    assert set(result.final) == {"gradient_ratio", "train/loss", "train/acc"}


# Repeating and resuming


def demanding(config: MakeConfig, **values: Any) -> Config:
    """A config whose every part draws random numbers."""
    return config(
        model__network__dropout=0.3,
        data__validation=0.2,
        data__scaling="standardize",
        model__optimizer__name="adam",
        seed_everything=3,
        **values,
    )


def test_config_yaml_repeats_the_run_to_the_last_digit(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    first, _ = train(demanding(config), tmp_path / "first")
    torch.manual_seed(99)
    os.environ["PL_GLOBAL_SEED"] = "99"
    again, _ = train(load_yaml(tmp_path / "first" / "config.yaml"), tmp_path / "again")
    assert figures(again) == figures(first)
    assert same(again.module.state_dict(), first.module.state_dict())
    one, other = ((tmp_path / name / "config.yaml").read_text() for name in ("first", "again"))
    assert one == other
    different, _ = train(merge(demanding(config), {"seed_everything": 4}))
    assert figures(different)[0]["train/loss"] != figures(first)[0]["train/loss"]


def test_config_yaml_holds_every_key_and_no_place(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    train(config(), tmp_path / "run")
    saved = load_yaml(tmp_path / "run" / "config.yaml")
    assert saved == parse_config(saved)
    assert (saved["seed_everything"], saved["model"]["steps_per_execution"], saved["data"]["drop_last"]) == (
        0,
        10,
        False,
    )
    assert "run_dir" not in saved
    assert str(tmp_path / "run") not in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
@pytest.mark.parametrize("steps", [1, 10])
def test_a_resumed_run_equals_the_uninterrupted_one(
    config: MakeConfig, train: Train, tmp_path: Path, steps: int
) -> None:
    settings = demanding(config, model__steps_per_execution=steps)
    uninterrupted = Weights()
    whole, _ = train(merge(settings, {"trainer": {"max_epochs": 4}}), callbacks=[uninterrupted])
    train(settings, tmp_path / "part")
    torch.manual_seed(99)
    kept = Weights()
    resumed = build_run(merge(settings, {"trainer": {"max_epochs": 4}}), callbacks=[kept])
    resumed.open()
    resumed.trainer.fit(
        resumed.module, datamodule=resumed.data, ckpt_path=tmp_path / "part" / "checkpoints" / "last.ckpt"
    )
    assert figures(resumed) == figures(whole)[2:]
    assert same(kept.epochs[-1], uninterrupted.epochs[-1])


def test_training_does_not_depend_on_what_drew_numbers_before(config: MakeConfig, train: Train) -> None:
    class Draw(Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            torch.rand(3)

    plain, _ = train(demanding(config))
    disturbed, _ = train(demanding(config), callbacks=[Draw()])
    assert figures(plain) == figures(disturbed)


# The test set, data, errors


def test_test_measures_the_weights_as_they_are(config: MakeConfig, train: Train, digits_dir: Path) -> None:
    from lit_dl.data.idx import read_idx_pair

    run, _ = train(config(trainer__max_epochs=4))
    images, labels = read_idx_pair(digits_dir, "t10k", False)
    with torch.no_grad():
        logits = run.module.eval()(images.float() / 255).double()
    shares = logits.exp() / logits.exp().sum(1, keepdim=True)
    measured = run.test()
    assert set(measured) == {"test/acc", "test/loss"}
    assert measured["test/acc"] == pytest.approx(float((shares.argmax(1) == labels).double().mean()))
    assert measured["test/loss"] == pytest.approx(float(-shares[torch.arange(45), labels].log().mean()), rel=1e-5)
    assert measured["test/acc"] > 0.5


def test_data_is_checked_before_anything_is_written(config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.batch_size: must be at most the training split of 230; got 500$"):
        build_run(config(data__batch_size=500)).check()
    with pytest.raises(ConfigError, match=r"^model\.network\.input_shape: must be \[1, 8, 8\], .*; got \[1, 9, 9\]$"):
        build_run(config(model__network__input_shape=[1, 9, 9])).check()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: no such file"):
        build_run(config(data__data_dir=str(tmp_path))).check()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("early_stopping__patience", 0, "early_stopping.patience: must be 1 or more, or null for none; got 0"),
        ("early_stopping__min_delta", -0.1, "early_stopping.min_delta: must be 0 or more; got -0.1"),
        ("early_stopping__monitor", "val/los", "early_stopping.monitor: 'val/los' is "),
        (
            "checkpoint__monitor",
            "acc",
            "checkpoint.monitor: 'acc' is ",
        ),
        ("trainer__enable_checkpointing", False, "trainer.enable_checkpointing: must be left out; got False"),
        ("threads", 0, "threads: must be 1 or more, or null; got 0"),
        ("trainer__accelerator", "gpux", "trainer: refused by Lightning (ValueError: "),
        ("data__batch_size", 0, "data.batch_size: must be 1 or more; got 0"),
        ("model__network__depth", -1, "model.network.depth: must be 0 or more; got -1"),
    ],
)
def test_what_cannot_run_is_refused_by_key(config: MakeConfig, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run(config(**{key: value}))
    assert str(caught.value).startswith(message)


def test_a_foreign_class_that_refuses_is_an_error_about_its_group() -> None:
    with pytest.raises(ConfigError, match=r"^model: Refusing refuses its arguments \(RuntimeError: no licence 'x'\)$"):
        build_run({"model": {"class_path": "foreign.Refusing", "init_args": {"licence": "x"}}})


def test_threads_are_set(config: MakeConfig) -> None:
    build_run(config(threads=2))
    assert torch.get_num_threads() == 2


def test_a_run_takes_one_device_unless_told_otherwise() -> None:
    assert parse_config({})["trainer"]["devices"] == 1
