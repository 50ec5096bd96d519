"""What is written reads back: fit(config) -> config.yaml -> fit(config.yaml) is the same run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from worker_sweeps import sweep
from zoo import Defaults, Parts, Size, Zoo

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.yaml_io import dump_yaml, load_yaml, parse_yaml
from lit_dl.errors import ConfigError
from lit_dl.run.resume import config_hash

Config = dict[str, Any]
GAIN = {"class_path": "zoo.Gain", "init_args": {"gain": 2.0, "mode": "ADAPTIVE"}}
AVERAGING = {
    "class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging",  # its device is an object
    "init_args": {"swa_lrs": 0.5, "swa_epoch_start": 1},
}
TIMER = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}
NUMBERS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=8)
OPTIONS = st.fixed_dictionaries({}, optional={"name": TEXTS, "lr": NUMBERS, "sizes": st.lists(st.integers())})
PARTS = st.fixed_dictionaries(
    {"class_path": st.just("zoo.Gain")},
    optional={"init_args": st.fixed_dictionaries({}, optional={"gain": NUMBERS, "mode": st.just("ADAPTIVE")})},
)
ARGUMENTS = {
    "text": TEXTS,
    "optional": st.none() | st.integers(),
    "union": st.integers() | st.lists(st.integers()) | st.sampled_from(["auto", "a: b", "- 1", "x.y"]),
    "literal": st.sampled_from(["a", "b", 3]),
    "mode": st.sampled_from(["ADAPTIVE", "FIXED"]),
    "maybe_size": st.sampled_from([None, "SMALL"]),
    "sizes": st.lists(st.sampled_from(["SMALL", "LARGE"])),
    "folder": st.sampled_from(["a", "/b/c d", "../e"]),
    "wait": st.just("1:00:01"),
    "pair": st.tuples(st.integers(), NUMBERS).map(list),
    "numbers": st.lists(st.integers()),
    "names": st.lists(TEXTS),
    "table": st.none() | st.dictionaries(TEXTS.filter(bool), NUMBERS),
    "by_number": st.dictionaries(st.integers(), TEXTS),
    "anything": st.dictionaries(st.integers() | st.sampled_from(["a", "val.acc", "val/acc"]), NUMBERS),
    "group": OPTIONS,
    "maybe_group": st.none() | OPTIONS,
    "groups": st.lists(OPTIONS, max_size=2),
    "part": st.none() | PARTS,
    "parts": st.lists(PARTS, max_size=2),
    "parts_by_name": st.dictionaries(st.sampled_from("ab"), PARTS),
    "function": st.sampled_from(["torch.tanh", "torch.nn.functional.silu"]),
    "kind": st.sampled_from(["torch.nn.Tanh", "torch.nn.SiLU"]),
    "make": st.fixed_dictionaries(
        {"class_path": st.just("torch.optim.Adam")},
        optional={"init_args": st.fixed_dictionaries({}, optional={"betas": st.just([0.5, 0.75])})},
    ),
    "point": st.fixed_dictionaries({}, optional={"x": st.integers(), "y": NUMBERS}),
    "limit": st.just(float("inf")) | NUMBERS,
    "items": st.integers(),
    "cls": TEXTS,
}


def zoo(path: str = "zoo.Zoo", **arguments: Any) -> Config:
    return {
        "model": {"class_path": path, "init_args": arguments},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }


def every_argument() -> Config:
    return zoo(
        needed=2,
        union=[1, 2],
        literal="b",
        mode="FIXED",
        sizes=["LARGE", "SMALL"],
        folder="c d",
        wait="2 days, 3:00:01",
        pair=[5, 1],
        names=["b", "a", "c"],
        table={"val.acc": 1.0, "1e-3": 2},
        by_number={3: "x"},
        anything={1: 2, "a.b": {"c": [None]}},
        group={"lr": 0.5},
        groups=[{"name": "sgd"}, {"sizes": [2, 3]}],
        part=GAIN,
        parts=[GAIN, {"class_path": "zoo.Gain"}],
        parts_by_name={"a": GAIN},
        make={"class_path": "torch.optim.Adam", "init_args": {"betas": [0.5, 0.75]}},
        point={"x": 5},
        limit=float("-inf"),
        items=4,
    )


def metrics(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "elapsed_s"} for row in csv.DictReader(file)]


# A failing example is not made smaller, which takes minutes.
@settings(
    max_examples=15,
    derandomize=True,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(arguments=st.fixed_dictionaries({"needed": st.integers()}, optional=ARGUMENTS))
def test_a_written_config_makes_the_same_module(arguments: Config) -> None:
    run = build_run(zoo(**arguments))
    written = parse_yaml(dump_yaml(run.config), "here")
    assert written == run.config
    again = build_run(written)
    assert again.module.given == run.module.given
    assert again.config == run.config


def test_what_nobody_sets_is_left_to_the_class() -> None:
    run = build_run(zoo("zoo.Defaults"))
    assert run.module.given == Defaults().given
    assert build_run(parse_yaml(dump_yaml(run.config), "here")).module.given == Defaults().given
    changed = build_run(zoo("zoo.Defaults", parts={"size": "SMALL"}))
    assert changed.module.given == Defaults(parts=Parts(nn.MSELoss(), size=Size.SMALL)).given
    assert build_run(zoo(needed=3)).module.given == Zoo(3).given


def test_a_complete_config_has_no_stand_in_for_an_object() -> None:
    arguments = parse_config(zoo("zoo.Defaults"))["model"]["init_args"]
    assert "Unable" not in dump_yaml(arguments)
    assert not {"loss", "device", "identity", "typed_identity", "layers", "mode_as_text", "groups"} & arguments.keys()
    assert (arguments["typed_mode"], arguments["typed_size"], arguments["version"]) == ("ADAPTIVE", "SMALL", "1.0")
    assert arguments["typed_loss"]["class_path"] == "torch.nn.CrossEntropyLoss"


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_an_argument_whose_default_is_an_object_can_be_set() -> None:
    settings = zoo("zoo.Defaults", layers=[4], size="SMALL", mode_as_text="b", shape=[5, 6], loss=GAIN)
    run = build_run(settings)
    for text in ("'layers': list(4)", "'size': <Size.SMALL: 4>", "'mode_as_text': 'b'", "'shape': tuple(5, 6)"):
        assert text in run.module.given
    assert "'loss': Gain(" in run.module.given


def test_an_object_that_was_set_is_refused_where_it_cannot_be_written() -> None:
    with pytest.raises(ConfigError, match=r"^model\.loss: must be a value that YAML can hold .*object"):
        build_run(zoo("zoo.Defaults", loss=object()))


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_fit_writes_a_config_that_fits_again(tmp_path: Path) -> None:
    given, runs = tmp_path / "given.yaml", [tmp_path / "a", tmp_path / "b"]
    settings = every_argument()
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path / "logs")}}
    settings["trainer"] |= {"max_epochs": 3, "callbacks": [AVERAGING, TIMER], "logger": [logger]}
    given.write_text(dump_yaml(settings))
    command(["fit", "-c", str(given), "--run_dir", str(runs[0])])
    command(["fit", "-c", str(runs[0] / "config.yaml"), "--run_dir", str(runs[1])])
    assert (runs[0] / "config.yaml").read_text() == (runs[1] / "config.yaml").read_text()
    assert metrics(runs[0]) == metrics(runs[1])
    assert float(metrics(runs[0])[0]["score"]) == build_run(settings).module.figures[0]


@pytest.mark.parametrize("flags", ["", "=skip_default"])
def test_print_config_prints_what_config_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(dump_yaml({**every_argument(), "data": {"class_path": "zoo.build_ones"}}))
    with pytest.raises(SystemExit):
        command(["fit", "-c", str(given), "--trainer.max_epochs=7", f"--print_config{flags}"])
    printed = parse_yaml(capsys.readouterr().out, "stdout")
    complete = parse_config(printed)
    assert complete == parse_config({**load_yaml(given), "trainer": {"max_epochs": 7, "accelerator": "cpu"}})
    assert (printed == complete) == (flags == "")


def test_what_older_versions_wrote_still_opens() -> None:
    """They wrote enums by value, which is read where the annotation is a text, and all keys of mappings as texts."""
    timer = {**TIMER, "init_args": {"interval": "step", "verbose": True}}
    run = build_run({**zoo(needed=1, by_number={"3": "x"}), "trainer": {"callbacks": [timer], "accelerator": "cpu"}})
    assert run.module.given == Zoo(1, by_number={3: "x"}).given
    assert run.config["trainer"]["callbacks"][0]["init_args"]["interval"] == "step"
    config = {"model": {"width": [300, 100], "dropout": 0.1}, "trainer": {"max_epochs": 3, "devices": 2}, "threads": 1}
    assert config_hash(config) == "ea7b13e0e62b4eacbb5fe5d53b39439a"
    config_hash({"model": {1: 2, "a": 3}})  # keys that do not sort


def test_an_argument_whose_default_is_an_object_can_be_swept(tmp_path: Path) -> None:
    space = {"model.layers": {"choices": [[1], [2, 3]]}, "model.typed_mode": {"choices": ["ADAPTIVE", "FIXED"]}}
    objective = {"metric": "score", "direction": "minimize"}
    _, rows = sweep(
        tmp_path, base=zoo("zoo.Defaults"), objective=objective, space=space, n_trials=2, evaluate_test="none"
    )
    assert [row["outcome"] for row in rows] == ["completed", "completed"]


def test_an_option_may_give_what_a_file_leaves_out(tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(dump_yaml(zoo()))
    command(["fit", "-c", str(given), "--model.needed=5", "--run_dir", str(tmp_path / "out")])
    assert load_yaml(tmp_path / "out" / "config.yaml")["model"]["init_args"]["needed"] == 5
    with pytest.raises(ConfigError, match=r"^model\.needed: must be given; it has no default$"):
        command(["fit", "-c", str(given)])


def test_a_trial_is_a_config_file(tmp_path: Path) -> None:
    base = every_argument()
    base["trainer"] |= {"max_epochs": 2, "callbacks": [AVERAGING, TIMER]}
    _, rows = sweep(
        tmp_path,
        base=base,
        objective={"metric": "score", "direction": "minimize"},
        space={"model.mode": {"choices": ["ADAPTIVE", "FIXED"]}, "model.limit": {"low": 0.0, "high": 1.0}},
        n_trials=2,
        evaluate_test="none",
    )
    assert [row["outcome"] for row in rows] == ["completed", "completed"]
    trials = sorted((tmp_path / "run" / "trials").iterdir())
    assert metrics(trials[0]) != metrics(trials[1])
    command(["fit", "-c", str(trials[1] / "config.yaml"), "--run_dir", str(tmp_path / "again")])
    assert metrics(tmp_path / "again") == metrics(trials[1])
