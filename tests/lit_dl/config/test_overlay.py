"""What an overlay sets and what it drops, held to the tables of techniques."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from typing import Any

import pytest

from lit_dl.config.overlay import APPLIES, merge, overlay
from lit_dl.config.yaml_io import parse_yaml
from lit_dl.errors import ConfigError
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.backbone_config import BackboneConfig
from lit_dl.nn.losses import LOSSES, check_outputs, loss_options
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import check_network
from lit_dl.optim.schedules import SCHEDULES, ScheduleConfig, check_schedule

BASE = {"model": {"network": {"depth": 2}, "optimizer": {"name": "momentum", "lr": 0.1, "momentum": 0.9}}}


@pytest.mark.parametrize(
    ("values", "optimizer"),
    [
        ({"model.optimizer.lr": 0.2}, {"name": "momentum", "lr": 0.2, "momentum": 0.9}),
        ({"model.optimizer.name": "momentum"}, {"name": "momentum", "lr": 0.1, "momentum": 0.9}),
        ({"model.optimizer.name": "adam"}, {"name": "adam"}),
        ({"model.optimizer.name": "adam", "model.optimizer.lr": 0.3}, {"name": "adam", "lr": 0.3}),
        ({"model.optimizer.lr": 0.3, "model.optimizer.name": "adam"}, {"name": "adam", "lr": 0.3}),
    ],
    ids=["another value", "the same name", "another name", "name first", "name last"],
)
def test_another_name_drops_what_belonged_to_the_old_one(values: dict[str, Any], optimizer: dict[str, Any]) -> None:
    result = overlay(BASE, values)
    assert result["model"]["optimizer"] == optimizer
    assert result["model"]["network"] == {"depth": 2}


@pytest.mark.parametrize("order", [1, -1])
def test_a_class_and_the_names_inside_it_are_set_together_in_any_order(order: int) -> None:
    values = [
        ("model.class_path", "mine.Net"),
        ("model.optimizer.name", "sgd"),
        ("model.hidden", 3),
        ("model.loss", "mae"),
    ]
    base = {"model": {"class_path": "other.Net", "width": 7, "loss": "mse"}}
    assert overlay(base, dict(values[::order])) == {
        "model": {"class_path": "mine.Net", "optimizer": {"name": "sgd"}, "hidden": 3, "loss": "mae"}
    }


def test_an_argument_called_name_of_a_foreign_class_selects_nothing() -> None:
    base = {"model": {"class_path": "mine.Backbone", "name": "resnet18", "lr": 0.1}}
    assert overlay(base, {"model.name": "resnet34"})["model"] == {
        "class_path": "mine.Backbone",
        "name": "resnet34",
        "lr": 0.1,
    }


def test_overlay_makes_missing_groups_and_changes_neither_argument() -> None:
    value = [1]
    base = {"a": {"b": 1}, "c": 3}
    result = overlay(base, {"a.x.y": value, "c.d": 4})
    assert result == {"a": {"b": 1, "x": {"y": [1]}}, "c": {"d": 4}}
    result["a"]["x"]["y"].append(2)
    result["a"]["b"] = 5
    assert (base, value) == ({"a": {"b": 1}, "c": 3}, [1])


def test_merge_goes_key_by_key() -> None:
    over = {"model": {"optimizer": {"lr": 0.5}, "loss": "hinge"}, "trainer": {"max_epochs": 1}}
    merged = merge(BASE, over)
    assert merged["model"]["optimizer"] == {"name": "momentum", "lr": 0.5, "momentum": 0.9}
    assert merged["model"]["network"] == {"depth": 2}
    assert (merged["model"]["loss"], merged["trainer"]) == ("hinge", {"max_epochs": 1})


def test_merging_an_empty_group_takes_nothing_away() -> None:
    assert merge(BASE, {"model": {}}) == BASE


# What applies to which choice


def takers(table: Mapping[str, Any], parameter: str) -> set[str]:
    """The rows of a table that have a parameter."""
    return {name for name, row in table.items() if parameter in row.options}


def parameters_of(table: Mapping[str, Any]) -> set[str]:
    return {parameter for row in table.values() for parameter in row.options}


def test_what_applies_is_what_the_tables_say() -> None:
    activation = {f"model.network.{key}": takers(ACTIVATIONS, key) for key in parameters_of(ACTIVATIONS)}
    loss = {f"model.{key}": takers(LOSSES, key) for key in parameters_of(LOSSES)}
    loss["model.network.output_activation"] = {name for name, row in LOSSES.items() if len(row.output_activations) > 1}
    stated = {key: {name: set(choices) for name, choices in rows.items()} for key, rows in APPLIES.items()}
    assert stated["model.network.activation"] == activation
    assert stated["model.loss"] == loss


@pytest.mark.parametrize("key", ["norm_momentum", "norm_eps"])
@pytest.mark.parametrize("norm_type", ["batch", "layer"])
@pytest.mark.parametrize("norm", ["none", "before", "after"])
def test_what_applies_to_a_normalization_is_what_the_network_takes(norm: Any, norm_type: Any, key: str) -> None:
    chosen = {"model.network.norm": norm, "model.network.norm_type": norm_type}
    applies = all(value in APPLIES[choice].get(f"model.network.{key}", (value,)) for choice, value in chosen.items())
    config = NetworkConfig(norm=norm, norm_type=norm_type, **{key: 0.5})
    if applies:
        check_network(config)
    else:
        with pytest.raises(ConfigError, match=f"^{key}: 0.5 does not apply to"):
            check_network(config)


def test_every_key_of_the_table_is_one_of_ours() -> None:
    keys = {f"model.network.{field.name}" for field in fields(NetworkConfig)}
    keys |= {f"model.network.backbone.{field.name}" for field in fields(BackboneConfig)}
    keys |= {f"model.{name}" for name in signature(SupervisedModule.__init__).parameters}
    assert set(APPLIES) | {key for rows in APPLIES.values() for key in rows} <= keys


@pytest.mark.parametrize(
    "base", [{"activation": "leaky_relu", "negative_slope": 0.3}, {"activation": "maxout", "pieces": 3}]
)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_any_activation_may_replace_one_with_parameters(base: dict[str, Any], name: str) -> None:
    network = overlay({"model": {"network": base}}, {"model.network.activation": name})["model"]["network"]
    check_network(NetworkConfig(**network))
    (key,) = set(base) - {"activation"}
    assert (key in network) == (name in takers(ACTIVATIONS, key))


@pytest.mark.parametrize(
    "base",
    [
        {"loss": "cross_entropy", "label_smoothing": 0.1},
        {"loss": "huber", "delta": 0.5},
        {"loss": "mse", "network": {"output_activation": "sigmoid"}},
        {"loss": "mse", "network": {"output_activation": "softmax"}},
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_any_loss_may_replace_one_with_parameters(base: dict[str, Any], name: str) -> None:
    model = overlay({"model": base}, {"model.loss": name})["model"]
    loss_options(name, {key: value for key, value in model.items() if key in ("label_smoothing", "delta")})
    output = model.get("network", {}).get("output_activation")
    check_outputs(name, 1 if LOSSES[name].max_outputs == 1 else 2, output)
    assert (output is None) == ("network" not in base or len(LOSSES[name].output_activations) == 1)


@pytest.mark.parametrize("old", [name for name, row in SCHEDULES.items() if row.options])
@pytest.mark.parametrize("new", SCHEDULES)
def test_any_schedule_may_replace_another_and_keeps_the_warm_up(old: str, new: str) -> None:
    base = {
        "name": old,
        "warmup_epochs": 2.0,
        **{key: option.default for key, option in SCHEDULES[old].options.items()},
    }
    schedule = overlay({"model": {"schedule": base}}, {"model.schedule.name": new})["model"]["schedule"]
    check_schedule(ScheduleConfig(**schedule))
    assert schedule == (base if new == old else {"name": new, "warmup_epochs": 2.0})


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("base", "values"),
    [
        ({}, {"model.network.activation": "relu", "model.network.negative_slope": 0.2}),
        ({"model": {"loss": "huber"}}, {"model.loss": "hinge", "model.label_smoothing": 0.1}),
        ({}, {"model.network.norm": "none", "model.network.norm_type": "layer", "model.network.norm_momentum": 0.1}),
        ({"model": {"schedule": {"name": "cosine"}}}, {"model.schedule.name": "plateau", "model.schedule.final": 0.1}),
        ({"model": {"loss": "mse"}}, {"model.loss": "nll", "model.network.output_activation": "softmax"}),
    ],
)
def test_keys_set_together_stay_even_where_they_do_not_apply(
    base: dict[str, Any], values: dict[str, Any], order: int
) -> None:
    """So that the contradiction is found and told, and not silently mended."""
    result = overlay(base, dict(list(values.items())[::order]))
    for key, value in values.items():
        *path, last = key.split(".")
        place = result
        for part in path:
            place = place[part]
        assert place[last] == value


def test_a_norm_that_goes_takes_its_momentum_along_and_a_layer_norm_keeps_eps() -> None:
    network = {"norm": "before", "norm_momentum": 0.2, "norm_eps": 0.1}
    base = {"model": {"network": network}}
    assert overlay(base, {"model.network.norm": "after"})["model"]["network"] == {**network, "norm": "after"}
    assert overlay(base, {"model.network.norm": "none"})["model"]["network"] == {"norm": "none"}
    layer = overlay(base, {"model.network.norm_type": "layer"})["model"]["network"]
    assert layer == {"norm": "before", "norm_type": "layer", "norm_eps": 0.1}


def test_an_activation_that_stays_keeps_its_slope() -> None:
    network = {"activation": "leaky_relu", "negative_slope": 0.3}
    result = overlay({"model": {"network": network}}, {"model.network.activation": "leaky_relu"})
    assert result["model"]["network"] == network


def test_a_loss_of_a_foreign_class_drops_nothing() -> None:
    """What its arguments of the same names mean is not for us to know."""
    base = {"model": {"class_path": "mine.Net", "loss": "huber", "delta": 0.5}}
    assert overlay(base, {"model.loss": "focal"})["model"] == {
        "class_path": "mine.Net",
        "loss": "focal",
        "delta": 0.5,
    }


@pytest.mark.parametrize("key", ["model.optimizer.name", "model.schedule.name"])
def test_a_group_of_a_foreign_class_that_is_called_as_ours_drops_nothing(key: str) -> None:
    group = {"name": "adam", "lr": 0.3, "weight_decay": 0.01}
    base = {"model": {"class_path": "nested.Settings", "optimizer": group, "schedule": group}}
    changed = overlay(base, {key: "sgd"})["model"]
    assert changed == {**base["model"], key.split(".")[1]: {**group, "name": "sgd"}}


def test_the_choices_of_a_subclass_of_ours_drop_as_ours_do() -> None:
    base = {"model": {"class_path": "nested.OurSubclass", "optimizer": {"name": "adam", "lr": 0.3}, "loss": "huber"}}
    base["model"]["delta"] = 0.5
    changed = overlay(base, {"model.optimizer.class_path": "torch.optim.SGD", "model.loss": "mse"})["model"]
    assert changed == {"class_path": "nested.OurSubclass", "optimizer": {"name": "torch.optim.SGD"}, "loss": "mse"}


def test_one_object_in_two_places_is_changed_in_one() -> None:
    """As an alias in YAML makes it."""
    base = parse_yaml("{a: &group {x: 1}, b: *group}", "here")
    assert overlay(base, {"a.x": 2}) == {"a": {"x": 2}, "b": {"x": 1}}


# Arguments that are classes

NESTED = {
    "model": {
        "class_path": "nested.Built",
        "net": {"class_path": "nested.Wide", "init_args": {"hidden": 5, "factor": 2}},
        "size": 3,
    },
    "trainer": {"callbacks": [{"class_path": "mine.Stop", "init_args": {"patience": 3}}, "mine.Watch"]},
}
WIDE = {"class_path": "nested.Wide", "init_args": {"hidden": 5, "factor": 2}}


@pytest.mark.parametrize(
    ("values", "net"),
    [
        ({"model.net.class_path": "nested.Deep"}, {"class_path": "nested.Deep"}),
        ({"model.net.class_path": "nested.Wide"}, WIDE),
        ({"model.net.class_path": "Wide"}, {**WIDE, "class_path": "Wide"}),
        ({"model.net.class_path": "elsewhere.Wide"}, {"class_path": "elsewhere.Wide"}),
        ({"model.net.hidden": 7}, {**WIDE, "init_args": {"hidden": 7, "factor": 2}}),
        ({"model.net.init_args.hidden": 7}, {**WIDE, "init_args": {"hidden": 7, "factor": 2}}),
        (
            {"model.net.layers": 4, "model.net.class_path": "nested.Deep"},
            {"class_path": "nested.Deep", "init_args": {"layers": 4}},
        ),
        (
            {"model.net.init_args.layers": 4, "model.net.class_path": "nested.Deep"},
            {"class_path": "nested.Deep", "init_args": {"layers": 4}},
        ),
        ({"model.net.hidden": 7, "model.net": "nested.Net"}, {"class_path": "nested.Net", "init_args": {"hidden": 7}}),
        (
            {"model.net.inner.class_path": "nested.Deep", "model.net": {"class_path": "nested.Holder"}},
            {"class_path": "nested.Holder", "init_args": {"inner": {"class_path": "nested.Deep"}}},
        ),
        ({"model.net": "nested.Net"}, "nested.Net"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_class_that_is_an_argument(values: dict[str, Any], net: Any, order: int) -> None:
    result = overlay(NESTED, dict(list(values.items())[::order]))
    assert result["model"] == {**NESTED["model"], "net": net}


def test_the_same_class_by_another_path_keeps_its_arguments() -> None:
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.3}}
    base = {"model": {"class_path": "nested.Optimized", "optimizer": adam}}
    changed = overlay(base, {"model.optimizer.class_path": "torch.optim.adam.Adam"})["model"]["optimizer"]
    assert changed == {"class_path": "torch.optim.adam.Adam", "init_args": {"lr": 0.3}}


def test_elements_of_a_list_are_set_by_number_and_by_class() -> None:
    values = {"trainer.callbacks.Stop.patience": 9, "trainer.callbacks.1.verbose": True}
    assert overlay(NESTED, values)["trainer"]["callbacks"] == [
        {"class_path": "mine.Stop", "init_args": {"patience": 9}},
        {"class_path": "mine.Watch", "init_args": {"verbose": True}},
    ]
    assert overlay(NESTED, {"trainer.callbacks.1": "mine.Other"})["trainer"]["callbacks"][1] == "mine.Other"
    assert NESTED["trainer"]["callbacks"][1] == "mine.Watch"
