"""Who may import what: the rooms in the order in which data flows, in the sources (by `ast`) and in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import REPOSITORY

SOURCES = sorted(path for package in ("lit_dl", "sweeps") for path in (REPOSITORY / package).rglob("*.py"))

# A room (a folder, or a file at the top) imports from itself and from rooms before it. Rooms on one line do not know
# each other.
ROOMS = {
    "lit_dl": [
        ["errors", "files", "seeds"],
        ["config", "options", "randomness", "tracking", "learning_curve"],
        ["nn", "optim"],
        ["data"],
        ["modules"],
        ["fused"],
        ["callbacks"],
        ["run"],
        ["cli"],
        ["__main__"],
    ],
    "sweeps": [
        ["definitions", "processes", "trial_folder"],
        ["spec"],
        ["study"],
        ["engines", "results", "run_folder", "time_left"],
        ["added_trials", "best", "sweep", "worker", "report", "status", "live_table", "extend"],
        ["live", "replay"],
        ["supervisor"],
        ["launcher"],
        ["api"],
        ["cli"],
        ["__main__"],
    ],
}
# What `sweeps` knows of a run: its config, how to build it, what it left.
RUN_AS_SEEN_BY_SWEEPS = {"errors", "files", "seeds", "config", "tracking", "callbacks", "run", "cli"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_entered(path: Path) -> Iterator[tuple[str, str]]:
    """(package, room) of every import of ours in a file."""
    for name in imports(path):
        package, _, rest = name.partition(".")
        room = rest.split(".")[0]
        places = (REPOSITORY / package / f"{room}.py", REPOSITORY / package / room / "__init__.py")
        if package in ROOMS and room and any(place.exists() for place in places):
            yield package, room


def floor(package: str, room: str) -> int:
    return next(number for number, rooms in enumerate(ROOMS[package]) if room in rooms)


def test_every_source_file_is_in_a_room() -> None:
    for package, floors in ROOMS.items():
        named = {room for rooms in floors for room in rooms}
        there = {path.stem for path in (REPOSITORY / package).iterdir() if path.suffix == ".py"} - {"__init__"}
        there |= {path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")}
        assert there == named


def test_a_room_imports_only_from_rooms_before_it() -> None:
    wrong = []
    for path in SOURCES:
        package, *rest = name_of(path).split(".")
        for other, room in rooms_entered(path) if rest else ():
            if other == package and room != rest[0] and floor(package, room) >= floor(package, rest[0]):
                wrong.append(f"{path.relative_to(REPOSITORY)} imports {package}.{room}")
    assert wrong == []


def test_a_run_knows_nothing_of_sweeps() -> None:
    for path in SOURCES:
        if name_of(path).startswith("lit_dl"):
            assert not {name.split(".")[0] for name in imports(path)} & {"optuna", "sweeps"}, path


def test_sweeps_know_of_a_run_what_they_may() -> None:
    entered = {
        (room, str(path.relative_to(REPOSITORY)))
        for path in SOURCES
        if name_of(path).startswith("sweeps")
        for package, room in rooms_entered(path)
        if package == "lit_dl"
    }
    assert [entry for entry in sorted(entered) if entry[0] not in RUN_AS_SEEN_BY_SWEEPS] == []
    assert {room for room, _ in entered} == RUN_AS_SEEN_BY_SWEEPS  # the list holds nothing that is not used


def test_only_tracking_imports_wandb() -> None:
    importers = {name_of(path) for path in SOURCES if any(name.split(".")[0] == "wandb" for name in imports(path))}
    assert importers == {"lit_dl.tracking"}


def loaded_by(*modules: str) -> set[str]:
    """Packages in `sys.modules` of a process that imports the modules and does nothing else."""
    code = f"import {', '.join(modules)}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.slow  # the imports that the files name are checked above
def test_a_run_loads_no_optuna_and_no_sweeps() -> None:
    names = [name_of(path) for path in SOURCES if name_of(path).startswith("lit_dl") and path.stem != "__main__"]
    loaded = loaded_by(*names)
    assert {"torch", "lightning", "lit_dl"} <= loaded
    assert not loaded & {"optuna", "sweeps", "wandb"}


def test_errors_and_config_load_no_torch() -> None:
    config = sorted(name_of(path) for path in (REPOSITORY / "lit_dl" / "config").glob("*.py"))
    loaded = loaded_by("lit_dl", "lit_dl.errors", "lit_dl.files", *config)
    assert not loaded & {"torch", "lightning", "jsonargparse", "numpy", "optuna"}


@pytest.mark.parametrize("command", ["--help", "status --help", "best --help"])
def test_help_loads_neither_torch_nor_optuna(command: str) -> None:
    code = (
        f"import sys, sweeps.cli\nsys.argv = ['sweeps', *{command.split()!r}]\n"
        "try: sweeps.cli.main()\nexcept SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'optuna', 'lightning', 'wandb', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: sweeps" in done.stdout
    assert done.stderr == "[]\n"


def test_what_only_reads_results_loads_neither_torch_nor_optuna() -> None:
    loaded = loaded_by("sweeps.results.ranking", "sweeps.results.frame", "sweeps.cli", "sweeps.api", "sweeps.sweep")
    assert "sweeps" in loaded
    assert not loaded & {"torch", "lightning", "optuna", "wandb", "jsonargparse", "pandas", "IPython"}


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
    modules = [name_of(path) for path in SOURCES if path.stem != "__main__" and path.parent.name != "report"]
    code = _SNAPSHOT.replace("MODULES", ", ".join(modules))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] {}\n"
    assert done.stderr == ""
