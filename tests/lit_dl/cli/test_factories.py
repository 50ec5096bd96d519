"""A function as `class_path`: it makes the module or the data, and its arguments are the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worker_sweeps import sweep
from zoo import Made, Size, Zoo

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError

Config = dict[str, Any]


def made_by(path: str, data: str | None = None, **arguments: Any) -> Config:
    return {
        "model": {"class_path": path, "init_args": arguments},
        **({"data": {"class_path": data, "init_args": {"count": 3}}} if data else {}),
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("zoo.build_zoo", Zoo),
        ("zoo.build_any", Zoo),
        ("zoo.Made.typed", Made),
        ("zoo.Made.annotated_self", Made),
        ("zoo.Made.untyped", Made),
        ("zoo.Made.Inner", Made.Inner),
    ],
)
def test_what_makes_a_module_is_a_class_path(path: str, kind: type) -> None:
    given = made_by(path, "zoo.build_ones", needed=7)
    first, second = build_run(given), build_run(given)  # the second has the parser of the first
    for run in (first, second):
        assert type(run.module) is kind
        assert run.module.given == kind(7).given
        assert run.data.count == 3
        assert run.config["model"]["class_path"] == path
        assert run.config == parse_config(run.config)


def test_a_function_of_the_same_name_in_another_class_is_another() -> None:
    assert type(build_run(made_by("zoo.MadeAgain.typed", needed=1)).module).__name__ == "MadeAgain"
    assert type(build_run(made_by("zoo.Made.typed", needed=1)).module).__name__ == "Made"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("zoo.Size", "must be a LightningModule, or a function whose return annotation is one; 'zoo.Size' is not"),
        ("zoo.build_ones", "must be a LightningModule, or a function whose return annotation is one; "),
        ("zoo.described", "must be a LightningModule, or a function whose return annotation is one; "),
        ("foreign.not_a_class", "must be a LightningModule, or a function whose return annotation is one; "),
        ("zoo.build_nothing", "must make a LightningModule; build_nothing made a NoneType"),
        ("zoo.Made.nothing", "'zoo.Made.nothing' cannot be imported (AttributeError: "),
        ("zoo.nothing.typed", "'zoo.nothing.typed' cannot be imported (AttributeError: "),
        (
            "nothing.Made.typed",
            "'nothing.Made.typed' cannot be imported (ModuleNotFoundError: No module named 'nothing'",
        ),
    ],
)
def test_what_makes_no_module_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run(made_by(path))
    assert str(caught.value).startswith(f"model.class_path: {message}")


def test_errors_name_the_key_and_the_function() -> None:
    with pytest.raises(ConfigError, match=r"^model\.need: no such key; did you mean 'model\.needed'\?"):
        build_run(made_by("zoo.build_zoo", need=7))
    with pytest.raises(ConfigError, match=r"^model: build_refusing refuses its arguments \(ValueError: not 7\)"):
        build_run(made_by("zoo.build_refusing", needed=7))


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
def test_fit_then_validate_with_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(dump_yaml(made_by("zoo.build_zoo")))
    command(["fit", "-c", str(given), "--model.size", "LARGE", "--run_dir", str(tmp_path / "out")])
    saved = load_yaml(tmp_path / "out" / "config.yaml")
    assert saved["model"] == {"class_path": "zoo.build_zoo", "init_args": {"needed": 1, "size": "LARGE"}}
    capsys.readouterr()
    last = tmp_path / "out" / "checkpoints" / "last.ckpt"
    command(["validate", "-c", str(tmp_path / "out" / "config.yaml"), "--ckpt_path", str(last)])
    assert str(Zoo(1, maybe_size=Size.LARGE).figures[0]) in capsys.readouterr().out


def test_a_sweep_over_the_arguments_of_functions_and_over_functions(tmp_path: Path) -> None:
    study, rows = sweep(
        tmp_path,
        base=made_by("zoo.build_zoo"),
        objective={"metric": "score", "direction": "minimize"},
        space={
            "model.needed": {"low": 1, "high": 9},
            "model.class_path": {"choices": ["zoo.build_zoo", "zoo.build_any"]},
        },
        n_trials=2,
        evaluate_test="none",
    )
    assert [row["outcome"] for row in rows] == ["completed", "completed"]
    for trial, row in zip(study.trials(), rows, strict=True):
        assert row["value"] == Zoo(trial.params["model.needed"]).figures[0]
