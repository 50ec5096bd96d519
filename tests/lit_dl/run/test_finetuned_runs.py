"""Runs that fine-tune a backbone: what is trained in which epoch, and what the run leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_dl import Classifier
from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import parse_config
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.errors import ConfigError
from lit_dl.files import sha256_of

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]
NETWORK = {"width": [12, 8], "norm": "before", "input_shape": [1, 8, 8]}


class Watch(Callback):
    """Keeps the weights at the end of each epoch, and the learning rates."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def changed(self) -> list[set[str]]:
        """The layers that changed in each epoch."""
        pairs = zip(self.states, self.states[1:], strict=False)
        names = [{name for name in new if not torch.equal(old[name], new[name])} for old, new in pairs]
        return [{name.removeprefix("network.").rpartition(".")[0] for name in epoch} for epoch in names]


def settings(config: MakeConfig, finetune: Config, **values: Any) -> Config:
    backbone = {"model__network__kind": "backbone", "model__network__backbone": {"network": NETWORK}}
    return config(**backbone, model__network__width=[6], model__finetune=finetune, trainer__max_epochs=3, **values)


HEAD = {"hidden_1.linear", "output"}
LAST = {"backbone.hidden_2.linear", "backbone.hidden_2.norm"}
FIRST = {"backbone.hidden_1.linear", "backbone.hidden_1.norm"}


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize(
    ("finetune", "expected"),
    [
        ({"strategy": "frozen"}, [HEAD] * 3),
        ({"strategy": "full"}, [HEAD | LAST | FIRST] * 3),
        ({"strategy": "gradual"}, [HEAD, HEAD | LAST, HEAD | LAST | FIRST]),
        ({"strategy": "lp_ft", "unfreeze_epochs": 2}, [HEAD, HEAD, HEAD | LAST | FIRST]),
        ({"norm": "running"}, [HEAD | {"backbone.hidden_1.norm", "backbone.hidden_2.norm"}] * 3),
    ],
)
def test_what_changes_in_each_epoch(
    config: MakeConfig, train: Train, finetune: Config, expected: Any, steps: int
) -> None:
    watch = Watch()
    given = settings(config, finetune, model__steps_per_execution=steps, model__optimizer__weight_decay=0.01)
    train(given, callbacks=[watch])
    assert watch.changed() == expected


def test_penalties_and_max_norm_leave_frozen_weights_alone(config: MakeConfig, train: Train) -> None:
    watch = Watch()
    regularization = {"l1": 0.1, "l2": 0.1, "max_norm": 0.01}
    train(settings(config, {}, model__regularization=regularization), callbacks=[watch])
    assert watch.changed() == [HEAD] * 3


def test_rates_by_depth_under_a_schedule(config: MakeConfig, train: Train) -> None:
    watch = Watch()
    schedule = {"name": "exponential", "decay_rate": 0.5}
    finetune = {"strategy": "full", "lr_decay": 0.1}
    run, _ = train(settings(config, finetune, model__schedule=schedule), callbacks=[watch])
    for rates in watch.rates:
        assert rates == pytest.approx([rates[2] * 0.01, rates[2] * 0.1, rates[2]])
    assert run.rows[-1]["lr"] == pytest.approx(watch.rates[-1][2])


def test_a_best_checkpoint_loads_in_plain_python(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    run, result = train(settings(config, {"strategy": "gradual"}), tmp_path / "run")
    loaded = Classifier.load_from_checkpoint(result.best_checkpoint, weights_only=True)
    inputs = torch.rand(4, 1, 8, 8)
    assert torch.equal(loaded.eval()(inputs), run.module.eval()(inputs))


def test_a_saved_config_names_the_very_file(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    train(config(trainer__max_epochs=1), tmp_path / "first")
    path = tmp_path / "first" / "checkpoints" / "best.ckpt"
    given = settings(config, {})
    given["model"]["network"]["backbone"] = {"checkpoint": str(path)}
    saved = parse_config(given)
    backbone = saved["model"]["network"]["backbone"]
    assert (backbone["checkpoint"], backbone["sha256"]) == (str(path), sha256_of(path))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match=r"^model\.network\.backbone\.sha256: .* is another file"):
        train(saved)


def test_unfreezing_after_the_last_epoch_is_refused(config: MakeConfig, train: Train) -> None:
    with pytest.raises(ConfigError, match=r"^model\.finetune\.unfreeze_epochs: must be less than trainer.max_epochs=3"):
        train(settings(config, {"strategy": "lp_ft", "unfreeze_epochs": 3}))


def test_the_numbers_of_trained_and_frozen_parameters_are_printed(
    config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(dump_yaml(settings(config, {"strategy": "gradual"})))
    command(["fit", "-c", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "run")])
    trained, frozen = 9 * 6 + 7 * 10, 64 * 12 + 12 * 8 + 2 * (12 + 8)  # batch norm stands for the biases
    assert f"{trained + frozen:,} parameters: {trained} trained, {frozen} frozen" in capsys.readouterr().out
