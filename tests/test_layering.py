"""Who may import what, in the sources (by `ast`) and in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIT_DL = sorted((ROOT / "lit_dl").rglob("*.py"))
SWEEPS = sorted((ROOT / "sweeps").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file, and in `import_module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def loaded_by(*modules: str) -> set[str]:
    """Packages in `sys.modules` of a process that imports the modules and does nothing else."""
    code = f"import {', '.join(modules)}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_there_are_sources_to_look_at() -> None:
    assert {path.name for path in LIT_DL} > {"cli.py", "classifier.py", "tracking.py", "mnist.py", "epoch_table.py"}
    assert {path.name for path in SWEEPS} > {"cli.py", "study.py", "results.py"}


@pytest.mark.parametrize("path", LIT_DL, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_run_knows_nothing_of_sweeps(path: Path) -> None:
    assert not packages(path) & {"optuna", "sweeps"}


@pytest.mark.parametrize(
    "path", [p for p in LIT_DL + SWEEPS if p != ROOT / "lit_dl" / "tracking.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_only_tracking_imports_wandb(path: Path) -> None:
    assert "wandb" not in packages(path)


def test_tracking_does_import_wandb() -> None:
    assert "wandb" in packages(ROOT / "lit_dl" / "tracking.py")


def test_a_run_loads_no_optuna_and_no_sweeps() -> None:
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in LIT_DL]
    names = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    loaded = loaded_by(*names)
    assert {"torch", "lightning", "lit_dl"} <= loaded
    assert not loaded & {"optuna", "sweeps", "wandb"}


@pytest.mark.parametrize("modules", [("lit_dl", "lit_dl.errors", "lit_dl.config.keys", "lit_dl.files")])
def test_errors_and_config_load_no_torch(modules: tuple[str, ...]) -> None:
    assert not loaded_by(*modules) & {"torch", "lightning", "jsonargparse", "numpy", "optuna"}


def test_what_only_reads_results_loads_neither_torch_nor_optuna() -> None:
    loaded = loaded_by("sweeps", "sweeps.results", "sweeps.cli")
    assert "sweeps" in loaded
    assert not loaded & {"torch", "lightning", "optuna", "wandb", "jsonargparse"}


def test_help_loads_neither_torch_nor_optuna() -> None:
    code = (
        "import sys, sweeps.cli\nsys.argv = ['sweeps', '--help']\n"
        "try: sweeps.cli.main()\nexcept SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'optuna', 'lightning', 'wandb'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "launch" in done.stdout
    assert done.stderr == "[]\n"


_SNAPSHOT = """
import logging, os, random, signal, sys, threading, warnings
import numpy, torch, lightning.pytorch, lightning.pytorch.cli, jsonargparse, optuna, torchvision, plotly, psutil

def snapshot():
    loggers = {name: logging.getLogger(name) for name in logging.Logger.manager.loggerDict}
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "seed": torch.initial_seed() if torch.initial_seed() == 0 else bytes(torch.get_rng_state()),
        "python": random.getstate(),
        "root": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "loggers": {
            name: (logger.level, list(logger.handlers), logger.propagate)
            for name, logger in loggers.items()
            if not name.startswith(("lit_dl", "sweeps"))
        },
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "alive": threading.active_count(),
    }

before = snapshot()
import MODULES
after = snapshot()
added = {name: value for name, value in after["loggers"].items() if name not in before["loggers"]}
after["loggers"] = {name: value for name, value in after["loggers"].items() if name in before["loggers"]}
print([key for key in before if before[key] != after[key]], {n: v for n, v in added.items() if v[1]})
"""


def test_importing_changes_nothing_for_others() -> None:
    files = [p for p in LIT_DL + SWEEPS if p.name != "__main__.py" and p.parent.name != "report"]
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]
    code = _SNAPSHOT.replace("MODULES", ", ".join(modules))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] {}\n"
    assert done.stderr == ""
