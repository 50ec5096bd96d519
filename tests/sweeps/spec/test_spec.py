from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_specs import resolved_spec, tiny_spec

from lit_dl.config.keys import get_key
from lit_dl.errors import ConfigError
from sweeps.spec.parse_spec import load_spec, parse_spec
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.spec.value_checks import duration


def test_the_resolved_spec_reads_back_the_same(tmp_path: Path) -> None:
    runs = {"wide": {"model.network.width": 16, "model.network.dropout": 0.5}}
    spec = resolved_spec(tmp_path, runs=runs, pruner="MedianPruner", timeout="2m", tracking={"project": "p"})
    path = tmp_path / "spec.yaml"
    path.write_text(spec.dump())
    again = load_spec(path)
    assert again.dump() == spec.dump()
    check_continues(spec, again)


# A value of each key that is not its default.
OTHER_VALUES: dict[str, Any] = {
    "name": "other",
    "base": {"trainer": {"max_epochs": 7}},
    "objectives": {"metric": "val/loss", "direction": "minimize"},
    "n_trials": 12,
    "constraints": {"val/loss": {"low": 0.1, "high": 2.0}},
    "space": {"model.optimizer.lr": {"low": 0.001, "high": 0.1}},
    "runs": {"wide": {"model.network.width": 16}},
    "seeds": 2,
    "sampler": "RandomSampler",
    "pruner": "MedianPruner",
    "stop": {"value": 0.9, "terminator": {"class_path": "Terminator", "init_args": {"min_n_trials": 3}}},
    "warm_start": ["runs/older"],
    "evaluate_test": "all",
    "divergence": "objective",
    "check": "parse",
    "workers": 3,
    "timeout": 60,
    "max_failures": 9,
    "slot": {"cpus": 2},
    "trial_timeout_s": 30,
    "keep": "best_2",
    "retry_out_of_memory": True,
    "tracking": {"project": "p"},
    "published": [{"metric": "val/acc", "tolerance": 0.1, "values": {"wide": 0.9}}],
    "claims": [{"claim": "c", "metric": "val/acc", "same": ["wide", "deep"], "within": 0.1}],
}


@pytest.mark.parametrize("name", [field.name for field in fields(SweepSpec)])
def test_every_field_is_read_from_yaml_and_reaches_the_file(tmp_path: Path, name: str) -> None:
    runs = {"wide": {"model.network.width": 16}, "deep": {"model.network.depth": 2}}
    given = tiny_spec(tmp_path, runs=runs)
    key = "objective" if name == "objectives" else name
    plain = parse_spec(given, tmp_path, "tiny")
    changed = parse_spec({**given, key: OTHER_VALUES[name]}, tmp_path, "tiny")
    path = tmp_path / "spec.yaml"
    path.write_text(changed.dump())
    again = load_spec(path)
    assert again.dump() == changed.dump() != plain.dump()
    for spec in (plain, changed):
        assert key in yaml.safe_load(spec.dump())


def test_a_field_that_is_added_reaches_the_file(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Longer(SweepSpec):
        added: int = 0

    spec = parse_spec(tiny_spec(tmp_path), tmp_path, "tiny")
    longer = Longer(**{field.name: getattr(spec, field.name) for field in fields(spec)}, added=5)
    assert yaml.safe_load(longer.dump()) == {**yaml.safe_load(spec.dump()), "added": 5}


def test_ranges_take_the_type_of_their_target_not_of_their_spelling(tmp_path: Path) -> None:
    space = {"model.network.dropout": {"low": 0, "high": 0.5}, "model.network.width": {"low": 4.0, "high": 8.0}}
    spec = resolved_spec(tmp_path, space=space)
    assert {p.name: p.type for p in spec.space} == {"model.network.dropout": "float", "model.network.width": "int"}


def test_the_base_is_resolved_with_every_default(tmp_path: Path) -> None:
    spec = resolved_spec(tmp_path)
    assert get_key(spec.base, "model.network.activation") == "relu"
    assert get_key(spec.base, "trainer.max_epochs") == 3


def test_the_objective_is_monitored_unless_the_base_names_a_metric(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path)
    given["base"]["early_stopping"] = {"monitor": "val/loss", "mode": "min", "patience": 2}
    config = parse_spec(given, tmp_path, "tiny").configuration({}, None, 0)
    assert config["early_stopping"] == {"monitor": "val/loss", "mode": "min", "patience": 2}
    assert config["checkpoint"] == {"monitor": "val/acc", "mode": "max"}


def test_another_optimizer_drops_what_the_base_said_for_its_own(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path, space={"model.optimizer.name": {"choices": ["adam", "sgd"]}})
    given["base"]["model"]["optimizer"] = {"name": "adam", "lr": 0.1, "beta1": 0.8}
    spec = parse_spec(given, tmp_path, "tiny")
    assert spec.configuration({"model.optimizer.name": "sgd"}, None, 0)["model"]["optimizer"] == {"name": "sgd"}
    kept = spec.configuration({"model.optimizer.name": "adam"}, None, 0)["model"]["optimizer"]
    assert kept == {"name": "adam", "lr": 0.1, "beta1": 0.8}


def test_repeats_count_seeds_up_from_the_base(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path, seeds=2)
    given["base"]["seed_everything"] = 10
    spec = parse_spec(given, tmp_path, "tiny")
    assert [spec.configuration({}, None, number)["seed_everything"] for number in range(2)] == [10, 11]


def test_runs_need_no_total(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path, runs={"a": {}, "b": {"model.network.depth": 3}}, seeds=3)
    del given["n_trials"]
    assert parse_spec(given, tmp_path, "tiny").n_trials == 6


def test_settings_replace_keys_of_the_base(tmp_path: Path) -> None:
    spec = parse_spec(tiny_spec(tmp_path), tmp_path, "tiny", settings={"trainer.max_epochs": 9})
    assert spec.base["trainer"] == {"max_epochs": 9, "accelerator": "cpu"}


def test_a_relative_base_is_looked_up_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "base.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": 2}}))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(tiny_spec(tmp_path, base="fit/base.yaml")))
    assert load_spec(tmp_path / "s.yaml").base == {"trainer": {"max_epochs": 2}}


@pytest.mark.parametrize(("text", "seconds"), [(90, 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("0.5", 0.5)])
def test_durations(text: object, seconds: float) -> None:
    assert duration(text, "timeout") == seconds


def test_only_what_leaves_old_trials_comparable_may_change(tmp_path: Path) -> None:
    spec = parse_spec(tiny_spec(tmp_path), tmp_path, "tiny")
    check_continues(spec, replace(spec, n_trials=40, workers=3, max_failures=9))
    other = parse_spec(tiny_spec(tmp_path), tmp_path, "tiny", settings={"data.batch_size": 21})
    with pytest.raises(ConfigError, match=r"^base: must stay .*data\.batch_size: 21 is not 20"):
        check_continues(spec, other)


@pytest.mark.parametrize("base", ["~/base.yaml", "$HOME/base.yaml"])
def test_the_base_may_lie_in_the_home_folder(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("trainer: {max_epochs: 7}\n")
    given = {"base": base, "objective": {"metric": "a", "direction": "maximize"}, "n_trials": 1}
    assert parse_spec(given, tmp_path / "elsewhere", "name").last_step == 7
