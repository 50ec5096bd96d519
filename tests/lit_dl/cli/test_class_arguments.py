"""Run configs of foreign modules whose arguments are classes, from a dict and from a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nested import Built, Deep, FromDict, Holder, Net, Optimized, Settings, Wide

from lit_dl.cli.command import _with_options, command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError

Config = dict[str, Any]


def given(name: str, **arguments: Any) -> Config:
    return {
        "model": {"class_path": f"nested.{name}", "init_args": arguments},
        "data": {"class_path": "nested.Validated"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }


def built(name: str, **arguments: Any) -> Any:
    return build_run(given(name, **arguments)).module


def arguments_of(config: Config) -> Config:
    arguments: Config = config["model"]["init_args"]
    return arguments


# From a dict


@pytest.mark.parametrize(
    "optimizer",
    [
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        {"class_path": "AdamW", "init_args": {"lr": 0.01}},
    ],
)
def test_an_optimizer_of_lightnings_documentation(optimizer: Config) -> None:
    module = built("Optimized", optimizer=optimizer)
    assert isinstance(module, Optimized)
    settings = module.configure_optimizers()
    assert type(settings["optimizer"]) is torch.optim.AdamW
    assert settings["optimizer"].defaults["lr"] == 0.01
    # The default of AdamW, and not that of SGD, which is the default of the argument.
    assert settings["optimizer"].defaults["weight_decay"] == 0.01


@pytest.mark.parametrize("name", ["AdamW", "torch.optim.AdamW"])
def test_a_class_may_be_given_by_its_name_alone(name: str) -> None:
    optimizer = built("Optimized", optimizer=name).configure_optimizers()["optimizer"]
    assert (type(optimizer), optimizer.defaults["weight_decay"]) == (torch.optim.AdamW, 0.01)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"class_path": "StepLR", "init_args": {"step_size": 3}}, ("StepLR", "step_size", 3)),
        ({"class_path": "torch.optim.lr_scheduler.LinearLR"}, ("LinearLR", "total_iters", 5)),
        ({"factor": 0.5}, ("ConstantLR", "factor", 0.5)),
        ({"init_args": {"factor": 0.5}}, ("ConstantLR", "factor", 0.5)),
    ],
)
def test_keys_of_a_schedule_are_those_of_what_is_chosen(scheduler: Config, expected: tuple[str, str, Any]) -> None:
    made = built("Optimized", scheduler=scheduler).configure_optimizers()["lr_scheduler"]
    assert (type(made).__name__, getattr(made, expected[1])) == (expected[0], expected[2])


def test_an_object_as_default_is_replaced_by_another_class() -> None:
    assert built("Built").net.factor == 3
    assert built("Built", net={"hidden": 9}).net.factor == 3
    deep = built("Built", net={"class_path": "nested.Deep", "init_args": {"layers": 7}})
    assert isinstance(deep, Built)
    assert isinstance(deep.net, Deep)
    assert deep.net.layers == 7
    assert type(built("Built", net="nested.Net").net) is Net


def test_classes_in_lists_and_in_classes() -> None:
    inner = {"class_path": "nested.Wide", "init_args": {"factor": 5}}
    module = built("Built", second={"class_path": "nested.Holder", "init_args": {"inner": inner}}, nets=[inner])
    assert isinstance(module.second, Holder)
    assert isinstance(module.second.inner, Wide)
    assert (module.second.inner.factor, module.nets[0].factor) == (5, 5)


def test_a_mapping_with_a_class_path_reaches_the_module_as_it_is() -> None:
    optimizer = {"class_path": "anything.At.All", "lr": 0.1, "init_args": {"x": 1}}
    module = built("FromDict", optimizer=optimizer)
    assert isinstance(module, FromDict)
    assert module.given == optimizer


def test_a_group_of_settings_that_is_called_as_ours() -> None:
    module = built("Settings", optimizer={"name": "sgd", "lr": 0.3})
    assert isinstance(module, Settings)
    assert (module.optimizer.name, module.optimizer.lr, module.optimizer.weight_decay) == ("sgd", 0.3, 0.0)


@pytest.mark.parametrize("name", ["lit_dl.Classifier", "nested.OurSubclass"])
def test_our_optimizer_goes_by_class_path_too(name: str, config: Any) -> None:
    settings = config()
    optimizer = {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}}
    settings["model"] = {**settings["model"], "class_path": name, "optimizer": optimizer}
    complete = parse_config(settings)["model"]
    named = complete.get("init_args", complete)["optimizer"]
    assert (named["name"], named["init_args"]) == ("torch.optim.RAdam", {"lr": 0.1})


# Errors


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Optimized", {"optimizer": {"class_path": "Adam", "init_args": {"lrr": 1}}},
         "model.optimizer.init_args.lrr: no such key; did you mean 'model.optimizer.init_args.lr'?"),
        ("Optimized", {"optimizer": {"lrr": 1}},
         "model.optimizer.lrr: no such key; did you mean 'model.optimizer.lr'?"),
        ("Optimized", {"optimizer": {"init_args": {"lr": "fast"}}},
         "model.optimizer.init_args.lr: must be float or torch.Tensor; got fast"),
        ("Optimized", {"optimizer": {"class_path": "Adam", "lr": 1}},
         "model.optimizer.lr: must stand below init_args, as it is beside class_path"),
        ("Optimized", {"scheduler": "StepLR"},
         "model.scheduler.init_args.step_size: must be given; it has no default"),
        ("Built", {"net": {"class_path": "nested.Wide", "init_args": {"hiden": 3}}},
         "model.net.init_args.hiden: no such key; did you mean 'model.net.init_args.hidden'?"),
        ("Built", {"net": {"class_path": "nested.Deep", "init_args": {"layers": "x"}}},
         "model.net.init_args.layers: must be int; got x"),
        ("Built", {"second": {"class_path": "nested.Wide", "init_args": {"factor": "x"}}},
         "model.second.init_args.factor: must be int; got x"),
        ("Built", {"nets": ["nested.Deep", {"class_path": "nested.Wide", "init_args": {"factr": 3}}]},
         "model.nets.1.init_args.factr: no such key; did you mean 'model.nets.1.init_args.factor'?"),
        ("Built",
         {"second": {"class_path": "nested.Holder",
                     "init_args": {"inner": {"class_path": "nested.Wide", "init_args": {"factr": 3}}}}},
         "model.second.init_args.inner.init_args.factr: no such key; "
         "did you mean 'model.second.init_args.inner.init_args.factor'?"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_below_the_class(name: str, arguments: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(given(name, **arguments))
    assert str(caught.value) == message


# From a command line


def fitted(tmp_path: Path, config: Config, *options: str) -> Config:
    """What config.yaml holds after a run."""
    (tmp_path / "run.yaml").write_text(dump_yaml(config))
    command(["fit", "-c", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "out"), *options])
    return load_yaml(tmp_path / "out" / "config.yaml")


ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.2, "weight_decay": 0.1}}


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ([], "torch.optim.Adam", {"lr": 0.2, "weight_decay": 0.1}),
        (["--model.optimizer.lr", "0.3"], "torch.optim.Adam", {"lr": 0.3, "weight_decay": 0.1}),
        (["--model.optimizer", "Adam"], "torch.optim.Adam", {"lr": 0.2, "weight_decay": 0.1}),
        (["--model.optimizer=AdamW"], "torch.optim.AdamW", {"lr": 0.001, "weight_decay": 0.01}),
        (["--model.optimizer.class_path", "torch.optim.AdamW"], "torch.optim.AdamW", {"weight_decay": 0.01}),
        (
            ["--model.init_args.optimizer.init_args.lr=0.4", "--model.optimizer=AdamW"],
            "torch.optim.AdamW",
            {"lr": 0.4, "weight_decay": 0.01},
        ),
    ],
)
def test_options_choose_a_class_as_an_overlay_does(
    tmp_path: Path, options: list[str], name: str, expected: Config
) -> None:
    optimizer = arguments_of(fitted(tmp_path, given("Optimized", optimizer=ADAM), *options))["optimizer"]
    assert optimizer["class_path"] == name
    assert {key: optimizer["init_args"][key] for key in expected} == expected


def test_a_class_is_chosen_without_a_file(tmp_path: Path) -> None:
    options = ["--model.optimizer", "AdamW", "--model.scheduler=StepLR", "--model.scheduler.step_size=3"]
    classes = ["--model", "nested.Optimized", "--data", "nested.Validated"]
    rest = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--tracking.wandb=disabled"]
    command(["fit", *classes, *options, *rest, "--run_dir", str(tmp_path / "out")])
    arguments = arguments_of(load_yaml(tmp_path / "out" / "config.yaml"))
    assert arguments["optimizer"]["init_args"]["weight_decay"] == 0.01
    assert arguments["scheduler"]["init_args"]["step_size"] == 3


def test_an_option_gives_what_the_file_leaves_out(tmp_path: Path) -> None:
    assert arguments_of(fitted(tmp_path, given("Sized"), "--model.width", "3"))["width"] == 3


def test_elements_of_lists_are_options(tmp_path: Path) -> None:
    config = given("Optimized")
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "score", "patience": 3}}
    config["trainer"]["callbacks"] = [stop, "LearningRateMonitor"]
    config["trainer"]["logger"] = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path)}}
    options = ["--trainer.callbacks.0.patience=7", "--trainer.callbacks.EarlyStopping.init_args.min_delta", "0.5"]
    (tmp_path / "run.yaml").write_text(dump_yaml(config))
    changed, rest = _with_options(config, [*options, "--trainer.max_epochs", "2"])
    found = changed["trainer"]["callbacks"][0]["init_args"]
    assert (found["patience"], found["min_delta"], rest) == (7, 0.5, ["--trainer.max_epochs", "2"])
