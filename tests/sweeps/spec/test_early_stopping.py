"""Whether trials stop early: for modules of ours, for those of others, and where it is switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign import scripted
from irregular import irregular_sweep
from sweep_specs import tiny_spec

from lit_dl.cli.command import command
from lit_dl.config.overlay import overlay
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import ConfigError
from sweeps.run_folder import check_same, with_earlier_defaults
from sweeps.spec.early_stopping import early_stopping_text
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import check_spec
from sweeps.spec.spec import SweepSpec

OFF: list[Any] = [None, False, {"monitor": None}, {"patience": None}]
Train = Callable[..., tuple[Any, Any]]


def foreign_spec(folder: Path, stopping: Any = ..., **changes: Any) -> SweepSpec:
    given = irregular_sweep("EarlyNaN", {"figures": [1.0] * 20}, {"max_epochs": 20}, check="parse", **changes)
    given["base"] |= {} if stopping is ... else {"early_stopping": stopping}
    return parse_spec(given, folder, "sweep")


def patience_of(spec: SweepSpec) -> int | None:
    resolved = check_spec(spec).spec
    config = resolved.configuration(resolved.space.first(), None, 0)
    patience: int | None = config["early_stopping"]["patience"]
    return patience


def text_of(spec: SweepSpec) -> str:
    return early_stopping_text(spec, check_spec(spec).spec)


def test_it_is_off_for_modules_of_others_and_on_for_ours(tmp_path: Path) -> None:
    foreign, ours = foreign_spec(tmp_path), parse_spec(tiny_spec(tmp_path, check="parse"), tmp_path, "tiny")
    assert (patience_of(foreign), patience_of(ours)) == (None, 5)
    assert "off, as a module is not one of ours" in text_of(foreign)
    assert text_of(ours) == "early stopping: after 5 epochs in which val/acc has not improved"


@pytest.mark.parametrize("stopping", [{"patience": 3}, {"monitor": "val_loss"}, {"min_delta": 0.1}])
def test_it_is_on_where_it_is_asked_for(tmp_path: Path, stopping: Any) -> None:
    assert patience_of(foreign_spec(tmp_path, stopping)) == stopping.get("patience", 5)
    space = {"early_stopping.patience": {"choices": [2, 3]}}
    assert patience_of(foreign_spec(tmp_path, space=space)) == 2


def test_a_choice_of_modules_that_are_not_all_ours_is_off(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path, check="parse", space={"model.class_path": {"choices": ["lit_dl.Classifier", "x.Net"]}})
    from sweeps.spec.early_stopping import decide_early_stopping

    assert decide_early_stopping(parse_spec(given, tmp_path, "a")).base["early_stopping"] == {"patience": None}


@pytest.mark.parametrize("off", OFF)
def test_each_spelling_switches_it_off_in_the_base(tmp_path: Path, off: Any) -> None:
    given = tiny_spec(tmp_path, check="parse")
    given["base"]["early_stopping"] = off
    spec = parse_spec(given, tmp_path, "tiny")
    assert patience_of(spec) is None
    assert text_of(spec) == "early stopping: off"


@pytest.mark.parametrize(
    "settings", [{"early_stopping": None}, {"early_stopping": False}, {"early_stopping.monitor": None}]
)
def test_each_spelling_switches_it_off_over_a_base_that_has_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    given = tiny_spec(tmp_path, check="parse")
    given["base"]["early_stopping"] = {"monitor": "val/loss", "patience": 7}
    assert patience_of(parse_spec(given, tmp_path, "tiny", settings=settings)) is None
    assert overlay(given["base"], settings)["early_stopping"]["patience"] is None


@pytest.mark.parametrize("off", OFF)
def test_each_spelling_switches_it_off_in_a_run(train: Train, off: Any) -> None:
    settings = scripted([1.0] * 8, early_stopping=off)
    assert train(settings)[1].epochs == 8


@pytest.mark.parametrize(
    "words",
    [
        ["--early_stopping", "null"],
        ["--early_stopping=false"],
        ["--early_stopping.monitor=null"],
        ["--early_stopping.patience", "null"],
    ],
)
def test_each_spelling_switches_it_off_on_the_command_line(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "run.yaml"
    stopping = {"monitor": "score", "patience": 1}
    path.write_text(yaml.safe_dump(scripted([1.0] * 4, early_stopping=stopping)))
    command(["fit", "--config", str(path), "--run_dir", str(tmp_path / "run"), *words])
    left = load_yaml(tmp_path / "run" / "config.yaml")
    assert left["early_stopping"]["patience"] is None
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 1 + 4


def test_a_patience_that_cannot_be_is_refused_by_the_check(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^early_stopping\.patience: must be 1 or more, or null for none; got 0"):
        check_spec(foreign_spec(tmp_path, {"patience": 0}))
    space = {"early_stopping.patience": {"choices": [2, 0]}}
    with pytest.raises(ConfigError, match=r"^early_stopping\.patience: .* got 0 \(with 0 of space"):
        check_spec(foreign_spec(tmp_path, space=space))


def test_a_folder_of_an_earlier_version_keeps_what_it_began_with(tmp_path: Path) -> None:
    """There, modules of others stopped early, and no value of the objective that is not finite was forgiven."""
    given = foreign_spec(tmp_path)
    began = check_spec(given).spec
    stopping = {"monitor": None, "mode": "min", "patience": 5, "min_delta": 0.0}
    began = replace(began, base={**began.base, "early_stopping": stopping}, divergence=None)
    text = "\n".join(line for line in began.dump().splitlines() if not line.startswith("divergence"))
    (tmp_path / "spec.yaml").write_text(text)
    again = check_spec(with_earlier_defaults(tmp_path, given)).spec
    check_same(tmp_path, again)
    assert (patience_of(again), again.divergence) == (5, None)
    config = again.configuration({}, None, 0)["early_stopping"]
    assert (config["monitor"], config["check_finite"]) == ("score", True)
    fresh = with_earlier_defaults(tmp_path / "new", given)
    assert fresh.divergence == "loss"
