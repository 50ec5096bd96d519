"""What Classifier and Regressor share: seeds, checkpoints, test sets, activity of the layers, Keras's defaults."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lit_dl import NetworkConfig, OptimizerConfig, RegularizationConfig, ScheduleConfig
from lit_dl.cli.lit_cli import build_run
from lit_dl.data.idx import read_idx_pair
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier
from lit_dl.modules.epoch_metrics import EpochMetrics
from lit_dl.modules.regressor import Regressor
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.random_layers import seed_random_layers

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]

# Seeds


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def test_initial_weights_come_from_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    first = weights(Classifier(seed=3))
    torch.manual_seed(2)
    assert torch.equal(weights(Classifier(seed=3)), first)
    assert not torch.equal(weights(Classifier(seed=4)), first)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    assert torch.equal(weights(Classifier()), first)


# Checkpoints


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def test_hyperparameters_in_a_checkpoint_are_plain_and_complete(
    config: MakeConfig, train: Callable[..., Any], tmp_path: Path
) -> None:
    _, result = train(config(model__network__width=[7], seed_everything=5), tmp_path / "run")
    saved = torch.load(result.best_checkpoint, weights_only=True)
    values = saved["hyper_parameters"]
    assert plain(values)
    assert set(values) == {
        "network",
        "optimizer",
        "schedule",
        "regularization",
        "loss",
        "label_smoothing",
        "delta",
        "defaults",
        "compile",
        "steps_per_execution",
        "seed",
        "finetune",
    }
    assert (values["network"]["width"], values["optimizer"]["name"], values["seed"]) == ([7], "sgd", 5)


EVERY_GROUP = {
    "network": {"depth": 2, "width": 6, "activation": "maxout", "pieces": 3, "norm": "after", "residual": True},
    "optimizer": {"name": "muon", "lr": 0.01},
    "schedule": {"name": "plateau", "warmup_epochs": 0.5, "patience": 1},
    "regularization": {"l1": 1e-4, "form": "textbook", "activity_l2": 0.01, "max_norm": 2.0},
    "loss": "nll",
    "label_smoothing": 0.1,
    "defaults": "keras",
}


@pytest.mark.parametrize(
    "values",
    [
        EVERY_GROUP,
        {"network": {"kind": "cnn"}, "optimizer": {"name": "torch.optim.RAdam", "init_args": {"lr": 0.01}}},
        {"loss": "pseudo_huber", "delta": 0.5},
    ],
    ids=["every group", "cnn and class path", "values"],
)
def test_a_checkpoint_loads_in_plain_python(config: MakeConfig, train: Train, tmp_path: Path, values: Config) -> None:
    flat = {f"{key}__{k}": v for key, value in values.items() if isinstance(value, dict) for k, v in value.items()}
    flat |= {key: value for key, value in values.items() if not isinstance(value, dict)}
    run, result = train(config(**{f"model__{key}": value for key, value in flat.items()}), tmp_path / "run")
    loaded = Classifier.load_from_checkpoint(result.best_checkpoint, weights_only=True).eval()
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(images), run.module.eval()(images))
    assert loaded.hparams == run.module.hparams
    for name in ("network_config", "optimizer_config", "schedule_config", "regularization_config"):
        assert getattr(loaded, name) == getattr(run.module, name)


# Construction


def test_groups_may_be_dicts_or_dataclasses() -> None:
    one = Classifier(
        NetworkConfig(width=[3]),
        OptimizerConfig("sgd", lr=0.1),
        ScheduleConfig("cosine"),
        RegularizationConfig(l1=0.1),
        seed=0,
    )
    other = Classifier({"width": [3]}, {"name": "sgd", "lr": 0.1}, {"name": "cosine"}, {"l1": 0.1}, seed=0)
    assert one.hparams == other.hparams
    assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {"depth": -1}}, "network.depth: must be 0 or more; got -1"),
        ({"network": {"dept": 2}}, "network: 'dept' is not one of kind, backbone, depth, "),
        ({"optimizer": {"lr": -1.0}}, "optimizer.lr: must be above 0 and finite; got -1.0"),
        (
            {"optimizer": {"class_path": "torch.nn.Linear"}},
            "optimizer.name: must be a Optimizer; 'torch.nn.Linear' is not",
        ),
        ({"schedule": {"name": "cosin"}}, "schedule.name: 'cosin' is not one of constant, inverse_time, "),
        ({"regularization": {"l1": -1.0}}, "regularization.l1: must be 0 or more and finite; got -1.0"),
        ({"loss": "msee"}, "loss: 'msee' is not one of cross_entropy, nll, "),
        ({"defaults": "kera"}, "defaults: 'kera' is not one of torch, keras; did you mean 'keras'?"),
        ({"steps_per_execution": 0}, "steps_per_execution: must be 1 or more; got 0"),
    ],
)
@pytest.mark.parametrize("cls", [Classifier, Regressor])
def test_what_cannot_be_built_is_refused_by_key(cls: type[SupervisedModule], values: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cls(**values)
    assert str(caught.value).startswith(message)


# The activity of the layers


def small(**regularization: float) -> Classifier:
    network = {"depth": 2, "width": [4, 3], "input_shape": [5], "outputs": 3, "activation": "tanh"}
    return Classifier(network, regularization=regularization, seed=1)


def test_the_activity_penalty_is_of_the_hidden_layers_after_their_activation_a_sample_on_average() -> None:
    module = small(activity_l1=0.1, activity_l2=0.01)
    inputs, labels = torch.randn(7, 5, generator=torch.Generator().manual_seed(3)), torch.arange(7) % 3
    module.on_train_epoch_start()
    with torch.no_grad():
        loss = module._training_loss((inputs, labels))
        first = torch.tanh(module.network.hidden_1.linear(inputs))
        second = torch.tanh(module.network.hidden_2.linear(first))
        logits = module.network.output(second)
        penalty = sum(0.1 * h.abs().sum() + 0.01 * h.square().sum() for h in (first, second)) / 7
        torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, labels) + penalty)
        torch.testing.assert_close(module._training_loss((inputs, labels)), loss)  # nothing is left of the first


@pytest.mark.parametrize("norm", ["before", "after"])
def test_the_activity_is_that_of_the_activation_wherever_the_norm_stands(norm: str) -> None:
    network = {"depth": 1, "width": 4, "input_shape": [5], "outputs": 3, "norm": norm, "residual": True, "dropout": 0.5}
    module = Classifier(network, regularization={"activity_l1": 1.0}, seed=1)
    seen = []
    module.network.hidden_1.activation.register_forward_hook(lambda _, __, outputs: seen.append(outputs))
    module.on_train_epoch_start()
    inputs, labels = torch.randn(6, 5), torch.arange(6) % 3
    seed_random_layers(module, 0, 1)
    loss = module._training_loss((inputs, labels))
    seed_random_layers(module, 0, 1)
    logits = module(inputs)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, labels) + seen[0].abs().sum() / 6)


def test_evaluation_keeps_no_activities() -> None:
    module = small(activity_l1=0.1).eval()
    module(torch.randn(7, 5))
    assert module._activities == []


def test_the_logged_loss_is_without_penalties(config: MakeConfig, train: Train) -> None:
    """At a learning rate of nearly 0 the loss is that of the initial weights."""
    plain, penalized = (
        train(config(model__optimizer__lr=1e-12, model__regularization__l2=l2, trainer__max_epochs=1))[0]
        for l2 in (0.0, 10.0)
    )
    names = ("train/loss", "val/loss")
    assert [penalized.rows[0][name] for name in names] == [plain.rows[0][name] for name in names]


# Defaults of PyTorch or of Keras


@pytest.mark.parametrize(
    ("defaults", "momentum", "eps", "adam_eps"), [("torch", 0.1, 1e-5, 1e-8), ("keras", 0.01, 1e-3, 1e-7)]
)
def test_defaults_are_those_asked_for(defaults: str, momentum: float, eps: float, adam_eps: float) -> None:
    module = Classifier({"norm": "before"}, defaults=defaults)
    norm = module.network.hidden_1.norm
    assert (norm.momentum, norm.eps) == (momentum, eps)
    assert module.configure_optimizers().param_groups[0]["eps"] == adam_eps
    given = Classifier({"norm": "before", "norm_momentum": 0.3}, {"name": "adam", "eps": 1e-3}, defaults=defaults)
    assert (given.network.hidden_1.norm.momentum, given.network.hidden_1.norm.eps) == (0.3, eps)
    assert given.configure_optimizers().param_groups[0]["eps"] == 1e-3


# Parameter groups


class WithScale(Classifier):
    """A subclass with a parameter outside the network."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.scale = nn.Parameter(torch.ones(1))


def test_the_optimizer_has_the_groups_of_the_network_and_what_a_subclass_adds() -> None:
    module = WithScale(network={"width": [3]})
    (group,) = module.configure_optimizers().param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in module.parameters()]

    body, head = list(module.network.parameters())[:-2], list(module.network.output.parameters())
    groups = [{"params": body, "lr": 1e-4}, {"params": head}]
    module.network.parameter_groups = lambda: groups  # type: ignore[method-assign]
    first, last = module.configure_optimizers().param_groups
    assert (first["params"], first["lr"], last["lr"]) == (body, 1e-4, 1e-3)
    assert [id(parameter) for parameter in last["params"]] == [id(parameter) for parameter in (module.scale, *head)]


# Test sets


def test_a_second_test_set_has_figures_of_its_own_name(config: MakeConfig, train: Train, digits_dir: Path) -> None:
    run, _ = train(config(data__test_unscaled=True, model__network__activation="elu", trainer__max_epochs=4))
    measured = run.test()
    images, labels = read_idx_pair(digits_dir, "t10k", False)
    module = run.module.eval()
    expected = {}
    for name, inputs in (("test", images.float() / 255), ("test_unscaled", images.float())):
        with torch.no_grad():
            logits = module(inputs)
        expected[f"{name}/acc"] = float((logits.argmax(1) == labels).double().mean())
        expected[f"{name}/loss"] = float(nn.functional.cross_entropy(logits.double(), labels))
    assert measured == pytest.approx(expected, rel=1e-5)
    assert measured["test/loss"] != measured["test_unscaled/loss"]


def test_test_sets_of_a_strange_data_module_are_numbered(config: MakeConfig) -> None:
    from foreign import Served

    run = build_run(config())
    loaders = [Served((torch.rand(5, 1, 8, 8), torch.arange(5)), times) for times in (1, 2)]
    run.trainer.test(run.module, dataloaders=loaders, verbose=False)
    names = {f"{name}/{metric}" for name in ("test", "test_1") for metric in ("loss", "acc")}
    assert names <= set(run.trainer.callback_metrics)


# What does not fit together


def test_a_warm_up_must_end_before_the_training(config: MakeConfig) -> None:
    build_run(config(model__schedule__warmup_epochs=1.9)).check()
    with pytest.raises(ConfigError) as caught:
        build_run(config(model__schedule__warmup_epochs=2)).check()
    assert str(caught.value) == ("model.schedule.warmup_epochs: must be less than trainer.max_epochs=2; got 2.0")


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_schedule_over_all_epochs_must_know_their_number(config: MakeConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.schedule\.name: '{name}' needs .*; got trainer\.max_epochs=-1"):
        build_run(config(model__schedule__name=name, trainer__max_epochs=-1)).check()


# What others do with a module


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
@pytest.mark.parametrize("trainer", [{"trainer__check_val_every_n_epoch": 2}, {"trainer__val_check_interval": 0.5}])
def test_the_best_epoch_can_be_gone_on_from(config: MakeConfig, train: Train, tmp_path: Path, trainer: Config) -> None:
    """With validation in the midst of an epoch or after several, it was saved before the epoch's end."""
    train(config(trainer__max_epochs=2, **trainer), tmp_path / "run")
    resumed = build_run(config(trainer__max_epochs=4, **trainer))
    resumed.open()
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    resumed.trainer.fit(resumed.module, datamodule=resumed.data, ckpt_path=best, weights_only=True)
    assert resumed.rows[-1]["epoch"] == 4
    assert resumed.rows[-1]["train/loss"] > 0


class Looker(Callback):
    """Uses the module for itself before each epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module(torch.ones(5, 1, 8, 8))


def test_activity_is_penalized_in_steps_alone(config: MakeConfig) -> None:
    runs = [
        build_run(config(model__regularization__activity_l2=0.1), callbacks=callbacks) for callbacks in ([], [Looker()])
    ]
    for run in runs:
        run.open()
        run.fit()
    first, second = ([{**row, "elapsed_s": 0} for row in run.rows] for run in runs)
    assert first == second


def test_a_module_can_be_pickled() -> None:
    module = Classifier(NetworkConfig(width=[3], input_shape=[4], outputs=2), seed=1)
    copy = pickle.loads(pickle.dumps(module))
    outputs, labels = torch.tensor([[1.0, -1.0]]), torch.tensor([0])
    assert torch.equal(copy.loss(outputs, labels), module.loss(outputs, labels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber", "log_cosh", "rmse"])
def test_losses_of_half_precision_are_computed_and_summed_in_single(dtype: torch.dtype, loss: str) -> None:
    module = Classifier(NetworkConfig(depth=0, input_shape=[3], outputs=3), loss=loss)
    outputs, labels = (100 * torch.eye(3)[[1, 2, 0]]).repeat(1000, 1), torch.arange(3).repeat(1000)
    metrics = EpochMetrics(lambda outputs, targets: targets.sum())
    for _ in range(16):
        metrics.add(module.loss(outputs.to(dtype), labels), outputs, labels)
    total, _, count = metrics.sums().tolist()
    assert total / count == pytest.approx(float(module.loss(outputs, labels)), rel=1e-6)
