"""The normal form of a run config, dotted keys, unknown keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lit_dl.config.keys import (
    check_keys,
    class_paths,
    flatten,
    full_key,
    get_key,
    lightning_form,
    normal_key,
    normalize,
    with_optimizer_name,
)
from lit_dl.errors import ConfigError

FOREIGN = {"class_path": "mine.Net", "init_args": {"hidden": 3, "inner": {"a": 1}}}


# The normal form


def test_the_normal_form_has_the_arguments_below_the_group() -> None:
    config = {"model": FOREIGN, "data": "mine.Data", "trainer": {"max_epochs": 1}}
    assert normalize(config) == {
        "model": {"class_path": "mine.Net", "hidden": 3, "inner": {"a": 1}},
        "data": {"class_path": "mine.Data"},
        "trainer": {"max_epochs": 1},
    }


def test_an_optimizer_by_class_path_is_an_optimizer_by_name() -> None:
    given = {"model": {"optimizer": {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}}}}
    named = {"name": "torch.optim.RAdam", "init_args": {"lr": 0.1}}
    assert with_optimizer_name(given)["model"]["optimizer"] == named
    given["model"]["optimizer"]["name"] = "adam"
    with pytest.raises(ConfigError, match=r"^model\.optimizer\.class_path: must stand in place of name; got both"):
        with_optimizer_name(given)


def test_the_arguments_of_a_foreign_class_are_its_own() -> None:
    optimizer = {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}}
    given = {"model": {"class_path": "mine.Net", "init_args": {"optimizer": optimizer}}}
    assert normalize(given)["model"] == {"class_path": "mine.Net", "optimizer": optimizer}
    assert normal_key("model.init_args.optimizer.class_path") == "model.optimizer.class_path"


def test_lightning_form_and_normal_form_are_inverse() -> None:
    theirs = {"model": FOREIGN, "data": {"class_path": "mine.Data", "init_args": {"n": 2}}, "seed_everything": 1}
    assert lightning_form(normalize(theirs)) == theirs
    assert normalize(lightning_form(normalize(theirs))) == normalize(theirs)


def test_lightning_form_leaves_out_the_paths_of_our_own_classes() -> None:
    config = {"model": {"class_path": "lit_dl.Classifier", "loss": "hinge"}, "data": {"batch_size": 5}}
    assert lightning_form(config) == {"model": {"loss": "hinge"}, "data": {"batch_size": 5}}


@pytest.mark.parametrize("change", [normalize, lightning_form])
def test_forms_are_copies(change: Any) -> None:
    config = {"model": {"class_path": "mine.Net", "init_args": {"inner": {"a": 1}}, "optimizer": {"class_path": "x.Y"}}}
    before = json.dumps(config)
    change(config)["model"].setdefault("inner", {})["a"] = 2
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.init_args.hidden", "model.hidden"),
        ("data.init_args.n", "data.n"),
        ("model.optimizer.class_path", "model.optimizer.class_path"),
        ("model.optimizer.init_args.lr", "model.optimizer.init_args.lr"),
        ("trainer.init_args.x", "trainer.init_args.x"),
    ],
)
def test_normal_keys(key: str, expected: str) -> None:
    assert normal_key(key) == expected


@pytest.mark.parametrize(
    ("config", "paths"),
    [
        ({}, ("lit_dl.Classifier", "lit_dl.ImageDataModule")),
        ({"model": {"class_path": "mine.Net"}}, ("mine.Net", None)),
        ({"model": {"class_path": "mine.Net"}, "data": {}}, ("mine.Net", "lit_dl.ImageDataModule")),
        ({"data": {"class_path": "mine.Data"}}, ("lit_dl.Classifier", "mine.Data")),
    ],
)
def test_class_paths(config: dict[str, Any], paths: tuple[str, str | None]) -> None:
    assert class_paths(config) == paths


def test_a_group_that_is_no_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^model: must be a mapping of keys to values; got \[1\]$"):
        class_paths({"model": [1]})


# Dotted keys


def test_leaves_and_get_key() -> None:
    config = {"a": {"b": 1, "c": {"d": [1, {"e": 2}]}, "empty": {}}, "f": None}
    assert dict(flatten(config)) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "a.empty": {}, "f": None}
    assert get_key(config, "a.c.d") == [1, {"e": 2}]
    assert get_key(config, "a.x.y") is None
    assert get_key(config, "a.b.c") is None


CALLBACKS = [
    {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "score"}},
    "lightning.pytorch.callbacks.Timer",
    {"class_path": "Timer"},
]
NESTED = {
    "model": {
        "class_path": "mine.Net",
        "net": {"class_path": "mine.Wide", "init_args": {"inner": {"class_path": "mine.Deep"}}},
        "short": "mine.Wide",
        "flat": {"class_path": "anything", "lr": 0.1},
    },
    "optimizer": {"class_path": "Adam"},
    "trainer": {"callbacks": CALLBACKS},
}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.hidden", "model.hidden"),
        ("model.net.hidden", "model.net.init_args.hidden"),
        ("model.net.init_args.hidden", "model.net.init_args.hidden"),
        ("model.net.class_path", "model.net.class_path"),
        ("model.net.inner.layers", "model.net.init_args.inner.init_args.layers"),
        ("model.short.hidden", "model.short.init_args.hidden"),
        ("model.flat.lr", "model.flat.lr"),
        ("model.other.hidden", "model.other.hidden"),
        ("optimizer.lr", "optimizer.init_args.lr"),
        ("trainer.callbacks.0.patience", "trainer.callbacks.0.init_args.patience"),
        ("trainer.callbacks.EarlyStopping.init_args.patience", "trainer.callbacks.0.init_args.patience"),
        ("trainer.callbacks.1.duration", "trainer.callbacks.1.init_args.duration"),
    ],
)
def test_what_a_key_leaves_out_is_found_in_the_config(key: str, expected: str) -> None:
    assert full_key(NESTED, key) == expected


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "trainer.callbacks.EarlyStoping.patience",
            "trainer.callbacks.EarlyStoping: no such element; the list has 0 (EarlyStopping), 1 (Timer), 2 (Timer); "
            "did you mean 'EarlyStopping'?",
        ),
        (
            "trainer.callbacks.3.patience",
            "trainer.callbacks.3: no such element; the list has 0 (EarlyStopping), 1 (Timer), 2 (Timer)",
        ),
        (
            "trainer.callbacks.Timer.duration",
            "trainer.callbacks.Timer: no single element; 2 of the list are a Timer; name one by number",
        ),
    ],
)
def test_an_element_that_a_list_does_not_have(key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        full_key(NESTED, key)
    assert str(caught.value) == message
    assert get_key(NESTED, key) is None


# Unknown keys

KNOWN = ["model.network.depth", "model.network.width", "model.optimizer.lr", "data.batch_size", "seed_everything"]


def test_known_keys_pass() -> None:
    check_keys({"model": {"network": {"depth": 1}, "optimizer": {}}, "seed_everything": 3}, KNOWN)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"network": {"dept": 1}}}, "model.network.dept: no such key; did you mean 'model.network.depth'?"),
        ({"modle": {"network": {"depth": 1}}}, "modle: no such key; did you mean 'model'?"),
        ({"data": {"batchsize": 1}}, "data.batchsize: no such key; did you mean 'data.batch_size'?"),
        ({"model": {"network": 3}}, "model.network: must be a mapping of keys to values; got 3"),
        ({"model": None}, "model: must be a mapping of keys to values; got None"),
        ({"zzz": 1}, "zzz: no such key; known here: data, model, seed_everything"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_keys(config, KNOWN)
    assert str(caught.value) == message
