"""`sweeps.launch` from scripts and from a notebook, as a user runs them."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import Forked, run_python
from paths import REPOSITORY
from sweep_specs import tiny_spec

import sweeps
from lit_dl.errors import ConfigError
from sweeps import cli
from sweeps.launcher import LaunchOptions
from sweeps.results.files import read_results
from sweeps.spec.preflight import Checked
from sweeps.spec.spec import SweepSpec

EXAMPLES = REPOSITORY / "examples"
UNGUARDED = """
import sweeps
from foreign import Scripted

class Mine(Scripted):
    pass

sweeps.launch({
    "base": {"model": Mine, "trainer": {"max_epochs": 1}},
    "objective": {"metric": "score", "direction": "maximize"},
    "space": {"model.figures": {"choices": [[1.0], [2.0]]}},
    "n_trials": 2,
}, "run")
"""
LONG = """
import sweeps

if __name__ == "__main__":
    try:
        sweeps.launch("tiny.yaml", "run", workers=1, wandb="disabled", set={"trainer.max_epochs": 10_000})
    except KeyboardInterrupt:
        print("trials:", *sweeps.load("run").trials["state"], sweeps.load("run").state)
        raise
"""
NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

class ZMQInteractiveShell(InteractiveShell):  # the name by which rich knows Jupyter
    pass

shell = ZMQInteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"]), store_history=True).raise_error()
"""


def test_the_example_script_sweeps_the_module_that_it_defines(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "spirals.py", tmp_path)
    done = run_python([tmp_path / "spirals.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "runs" / "spirals"
    results = read_results(run_dir)
    assert [result.outcome for result in results] == ["completed"] * 4
    assert f"best: {min(results, key=lambda result: result.value or 1).params}" in done.stdout
    config = yaml.safe_load((run_dir / "trials" / "00000" / "config.yaml").read_text())
    assert config["model"]["class_path"] == "spirals.SpiralsNet"
    elsewhere = run_python(["-m", "sweeps", "replay", run_dir, "--trial", 0], REPOSITORY)
    assert "'spirals.SpiralsNet' cannot be imported" in elsewhere.stderr
    assert "is its folder in PYTHONPATH?" in elsewhere.stderr
    here = run_python(["-m", "sweeps", "replay", run_dir, "--trial", 0], tmp_path)
    assert "the same to the last digit" in here.stdout


def test_the_example_notebook_sweeps_the_classes_that_it_defines(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    done = run_python(["-c", NOTEBOOK, EXAMPLES / "wave.ipynb"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = tmp_path / "runs" / "wave"
    results = read_results(run_dir)
    assert [result.outcome for result in results] == ["completed"] * 5
    assert results[4].params | {"data.batch_size": 0} == {"model.hidden": 32, "model.lr": 0.03, "data.batch_size": 0}
    assert "trial 4: the sweep does not run (finished); launch it again to run it; on top of n_trials=4" in done.stdout
    assert "wave  5/4\n" in done.stdout  # the live table
    # All other commands find the classes in the run folder, from anywhere.
    replayed = run_python(["-m", "sweeps", "replay", run_dir, "--trial", 4], REPOSITORY)
    assert "the same to the last digit" in replayed.stdout, replayed.stderr
    words = ["launch", run_dir / "spec.yaml", "--run_dir", run_dir, "--n_trials", 6, "--wandb", "disabled"]
    more = run_python(["-m", "sweeps", *words], REPOSITORY)
    assert "6 completed" in more.stdout, more.stderr


def test_a_script_that_launches_when_it_is_imported_is_told_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    done = run_python([tmp_path / "unguarded.py"], tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "lit_dl.errors.ConfigError: model.class_path: 'unguarded.Mine' cannot be imported; sweeps.launch: must not be "
        'called while its module is imported, as each worker does; put the call below if __name__ == "__main__":'
    )
    assert not (tmp_path / "run").exists()


def test_ctrl_c_gives_the_trials_back_and_raises(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(LONG)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_spec(tmp_path, check="parse")))
    process = Forked([tmp_path / "long.py"], tmp_path)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("trials/*/metrics.csv")):
        assert process.poll() is None, process.stdout + process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert "interrupted: stopping the workers" in process.stdout
    assert "trials: interrupted\n" in process.stdout
    assert process.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_a_launch_in_a_thread_leaves_the_signals_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.launcher.check_in_child", lambda spec, wandb: Checked(spec, 0, []))
    done: list[sweeps.Sweep] = []
    spec = tiny_spec(tmp_path, space={"model.network.width": {"low": 4, "high": 16, "type": "int"}})

    def launch() -> None:
        done.append(sweeps.launch(spec, tmp_path / "run", workers=0, timeout=1e-3, wandb="disabled"))

    thread = threading.Thread(target=launch)
    thread.start()
    thread.join()
    assert [sweep.state for sweep in done] == ["timeout"]


def test_a_class_that_was_main_is_told_to_name_its_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: __main__.Net\n")  # a config that LightningCLI saved in a script
    with pytest.raises(ConfigError) as error:
        sweeps.launch({**tiny_spec(tmp_path), "base": str(tmp_path / "base.yaml")}, tmp_path / "run")
    assert str(error.value) == (
        "model.class_path: must name a module; in place of __main__ write the name of the file that defines it, "
        "without .py; got '__main__.Net'"
    )


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SweepSpec, LaunchOptions, bool]]:
    """What the launcher is called with."""
    calls: list[tuple[SweepSpec, LaunchOptions, bool]] = []

    def launch(spec: SweepSpec, options: LaunchOptions, dry_run: bool) -> int:
        calls.append((spec, options, dry_run))
        return 0

    monkeypatch.setattr("sweeps.launcher.launch", launch)
    return calls


def test_options_are_those_of_the_command(tmp_path: Path, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny_spec(tmp_path, workers=2)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    options: dict[str, Any] = {"n_trials": 7, "workers": 3, "timeout": "2m", "set": {"trainer.max_epochs": 9}}
    for given in (spec, tmp_path / "mine.yaml", "mine.yaml"):
        sweep = sweeps.launch(
            given, "there", storage="sqlite://", engine="ray", wandb="offline", dry_run=True, **options
        )
        assert sweep.run_dir == Path("there")
    words = ["--n_trials=7", "--workers=3", "--timeout=2m", "--set", "trainer.max_epochs=9", "--dry_run"]
    with pytest.raises(SystemExit):
        cli.main(
            ["launch", "mine.yaml", "--run_dir=there", "--storage=sqlite://", "--engine=ray", "--wandb=offline", *words]
        )
    of_mapping, *of_file = [(call[0].dump(), *call[1:]) for call in launched]
    assert of_file == [of_file[0]] * 3
    assert of_mapping == (of_file[0][0].replace("name: mine", "name: there"), *of_file[0][1:])


def test_where_nothing_is_named(tmp_path: Path, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_STORAGE", "sqlite://")
    assert sweeps.launch(tiny_spec(tmp_path)).run_dir == Path("runs/sweep")
    assert sweeps.launch(tiny_spec(tmp_path, name="mine"), workers="auto").run_dir == Path("runs/mine")
    assert [(call[0].name, call[1].url, call[0].workers) for call in launched] == [
        ("sweep", "sqlite://", None),
        ("mine", "sqlite://", None),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rya"}, "engine: 'rya' is not one of local, ray; did you mean 'ray'?"),
        ({"wandb": "of"}, "wandb: 'of' is not one of auto, offline, online, disabled"),
        ({"n_trials": 0}, "n_trials: must be a whole number, 1 or more; got 0"),
        ({"workers": -1}, "workers: must be a whole number, 0 or more; got -1"),
        ({"timeout": "soon"}, "timeout: must be above 0: seconds, or a text such as"),
        ({"set": {"trainer.callbacks": object()}}, "trainer.callbacks: must be a value that YAML can hold"),
    ],
)
def test_wrong_options(tmp_path: Path, launched: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        sweeps.launch(tiny_spec(tmp_path), **options)
    assert str(error.value).startswith(message)
    assert launched == []


def test_names_are_exported_and_typed() -> None:
    assert {name for name in dir(sweeps) if name in sweeps.__all__} == set(sweeps.__all__)
    assert all(getattr(sweeps, name).__doc__ for name in sweeps.__all__)
    with pytest.raises(AttributeError, match="module 'sweeps' has no attribute 'lanch'"):
        _ = sweeps.lanch  # type: ignore[attr-defined]
