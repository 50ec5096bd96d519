"""Which runs can be in one stack: every key of a run config has a decision."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from lit_dl import Classifier, ImageDataModule
from lit_dl.config.overlay import overlay
from lit_dl.data.toy import LinearRegressionDataModule, LogicGateDataModule
from lit_dl.fused.parameters import rule_name
from lit_dl.fused.rules import RULES
from lit_dl.fused.structure import MAY_DIFFER, structural_key, why_alone
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.regularizers import RegularizationConfig
from lit_dl.optim.optimizers import OPTIMIZERS, OptimizerConfig
from lit_dl.optim.schedules import ScheduleConfig

MakeConfig = Callable[..., dict[str, Any]]

GROUPS = {
    "network": NetworkConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "regularization": RegularizationConfig,
}
# What must be equal, as decided when the option was new.
_NETWORK = ["kind", "depth", "width", "activation", "negative_slope", "pieces", "bias", "residual", "input_shape"]
_NETWORK += ["backbone"]
_NETWORK += ["norm", "norm_type", "norm_momentum", "norm_eps", "output_activation", "outputs"]
_DATA = ["dataset", "data_dir", "validation", "batch_size", "scaling", "test_unscaled", "drop_last", "target"]
_DATA += ["image_size", "channels", "classes", "train_samples", "augment", "download"]
_DATA += ["gate", "shuffle", "samples", "inputs", "noise"]
MUST_BE_EQUAL = {
    *(f"model.network.{name}" for name in _NETWORK),
    *(f"data.{name}" for name in _DATA),
    "model.optimizer.name",
    "model.optimizer.init_args",
    "model.regularization.form",
    "model.loss",
    "model.defaults",
    "model.compile",
    "model.finetune",
}


def arguments(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name != "kwargs"]


def test_every_option_has_a_decision() -> None:
    ours = {f"model.{name}" for name in arguments(SupervisedModule) if name not in GROUPS}
    ours |= {f"model.{group}.{field.name}" for group, cls in GROUPS.items() for field in fields(cls)}
    for data in (ImageDataModule, LogicGateDataModule, LinearRegressionDataModule):
        ours |= {f"data.{name}" for name in arguments(data)}
    undecided = ours - MAY_DIFFER - MUST_BE_EQUAL
    assert not undecided, f"may members of a stack differ in {sorted(undecided)}? See lit_dl/fused/structure.py"
    assert not MAY_DIFFER & MUST_BE_EQUAL
    outside = {key for key in MAY_DIFFER | MUST_BE_EQUAL if key.startswith(("model", "data"))} - ours
    assert not outside, "no such option"


def test_every_optimizer_has_a_rule() -> None:
    for name in OPTIMIZERS:
        module = Classifier(network={"norm": "before"}, optimizer={"name": name})  # type: ignore[arg-type]
        optimizer = module.configure_optimizers()
        assert {rule_name(optimizer, group) for group in optimizer.param_groups} <= RULES.keys(), name


@pytest.mark.parametrize("key", sorted(MAY_DIFFER))
def test_a_number_of_a_member_is_not_in_the_key(config: MakeConfig, key: str) -> None:
    values = {"model.schedule.name": "cosine", "model.network.initializer": "he_normal"}
    assert structural_key(overlay(config(), {key: values.get(key, 1)})) == structural_key(config())


DIFFERENT: dict[str, Any] = {
    "model.network.width": [17],
    "model.network.activation": "tanh",
    "model.optimizer.name": "adam",
    "model.loss": "mse",
    "data.batch_size": 10,
    "trainer.precision": "64-true",
    "model.a_new_key": 1,
    "a_new_group": {"a": 1},
}


@pytest.mark.parametrize("key", DIFFERENT)
def test_everything_else_is_in_the_key(config: MakeConfig, key: str) -> None:
    config_of_other = config()
    parts = key.split(".")
    node = config_of_other
    for part in parts[:-1]:
        node = node.setdefault(part, {})
    node[parts[-1]] = DIFFERENT[key]
    assert structural_key(config_of_other) != structural_key(config())


def test_recorders_differ_freely(config: MakeConfig) -> None:
    other = {**config(), "early_stopping": {"patience": 1}, "tracking": {"wandb": "offline"}}
    assert structural_key(other) == structural_key(config())


def test_samples_that_depend_on_the_seed_need_one_seed(config: MakeConfig) -> None:
    data = {"class_path": "lit_dl.LinearRegressionDataModule"}
    keys = {structural_key({**config(), "data": data, "seed_everything": seed}) for seed in (1, 2)}
    assert len(keys) == 2


ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "module": ({"model": {"class_path": "foreign.Scripted"}}, "model.class_path: only lit_dl.Classifier and"),
    "data": ({"data": {"class_path": "foreign.Ones"}}, "data.class_path: only data in memory"),
    "optimizer": ({"model": {"optimizer": {"name": "torch.optim.Rprop"}}}, "model.optimizer.name: only sgd, "),
    "compile": ({"model": {"compile": True}}, "model.compile: "),
    "backbone": ({"model": {"network": {"kind": "backbone"}}}, "model.network.kind: only mlp and cnn"),
    "augmentation": ({"data": {"augment": [{"class_path": "a.B"}]}}, "data.augment: "),
    "devices": ({"trainer": {"devices": 2}}, "trainer.devices: a fused run has 'auto'; got 2"),
    "accumulation": ({"trainer": {"accumulate_grad_batches": 2}}, "trainer.accumulate_grad_batches: "),
    "steps": ({"trainer": {"max_steps": 7}}, "trainer.max_steps: a fused run has -1; got 7"),
    "half precision": ({"trainer": {"precision": "bf16-mixed"}}, "trainer.precision: "),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_cannot_be_fused_says_why(name: str) -> None:
    given, text = ALONE[name]
    reason = why_alone(given)
    assert reason is not None
    assert reason.startswith(text)


def test_our_runs_can_be_fused(config: MakeConfig) -> None:
    assert why_alone(config()) is None
