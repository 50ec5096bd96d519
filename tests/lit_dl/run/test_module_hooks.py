"""A run asks a module what it needs to know; a module that says nothing is run by defaults."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from foreign import Scripted
from lightning.pytorch import LightningDataModule, Trainer
from paths import REPOSITORY

from lit_dl import Classifier, Regressor
from lit_dl.errors import ConfigError
from lit_dl.run.module_hooks import DefaultHooks, RunHooks, hooks_of
from lit_dl.run.run import Run

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


class Hooked(Scripted):
    """Someone else's module that has the hooks."""

    default_monitor = "score"
    diagnoses_layers = False
    syncs_metrics = True

    def logged_metrics(self) -> list[str]:
        return ["score"]

    def prepare_trainer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "max_epochs": 2}

    def check_run(self, data: LightningDataModule | None, trainer: Trainer) -> None:
        raise ConfigError("model", f"cannot run for {trainer.max_epochs} epochs")


def test_the_room_of_runs_does_not_import_our_modules() -> None:
    for path in (REPOSITORY / "lit_dl" / "run").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            assert not [name for name in names if str(name).startswith("lit_dl.modules")], path


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_our_modules_have_the_hooks(kind: type[Classifier | Regressor]) -> None:
    assert isinstance(hooks_of(kind()), kind)


def test_a_module_without_hooks_gets_defaults() -> None:
    hooks = hooks_of(Scripted([1.0]))
    assert isinstance(hooks, DefaultHooks)
    assert isinstance(hooks, RunHooks)
    assert (hooks.default_monitor, hooks.logged_metrics()) == (None, None)


def test_the_hooks_of_any_module_are_asked() -> None:
    run = Run(Hooked([3.0, 1.0, 2.0]), None, {**QUIET, "max_epochs": 9}, {}, None)
    assert (run.trainer.max_epochs, run.recorder.monitor) == (2, "score")
    with pytest.raises(ConfigError, match=r"^model: cannot run for 2 epochs$"):
        run.check()
    with pytest.raises(ConfigError, match=r"^checkpoint\.monitor: 'acc' is never logged; logged are score$"):
        Run(Hooked([1.0]), None, QUIET, {"checkpoint": {"monitor": "acc"}}, None)
