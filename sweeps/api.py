"""Sweeps from Python: `sweeps.launch`, `sweeps.load` and `sweeps.enqueue`, for scripts and notebooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lit_dl.errors import ConfigError, StorageError
from lit_dl.files import expand_path
from lit_dl.tracking import Mode
from sweeps.engines.registry import ENGINES
from sweeps.sweep import Sweep

if TYPE_CHECKING:
    from sweeps.added_trials import AddedTrial
    from sweeps.definitions.import_paths import ImportPaths
    from sweeps.spec.spec import SweepSpec

Folder = str | os.PathLike[str]


def launch(
    spec: Mapping[str, Any] | Folder,
    run_dir: Folder | None = None,
    *,
    n_trials: int | None = None,
    workers: int | str | None = None,
    engine: str = "local",
    storage: str | None = None,
    wandb: Mode | None = None,
    timeout: float | str | None = None,
    set: Mapping[str, Any] | None = None,
    extend: int | str | None = None,
    extend_best: int | None = None,
    dry_run: bool = False,
) -> Sweep:
    """Runs a sweep, or goes on with one that was interrupted, as the command `sweeps launch` does; returns it.

    Classes and functions may stand in the spec as they are, also those that the script or the notebook defines itself:
    `{"model": {"class_path": MyModule, "init_args": {"hidden": 16}}}`, or just `{"model": MyModule}`. Workers are other
    processes. They import the file of a script, so the call to `launch` must stand below
    `if __name__ == "__main__":`. Of a notebook they import the source of the classes and of what these use, which is
    kept in the run folder as `notebook_code.py`.

    Ctrl-C, or the stop button of a notebook, gives the running trials back; the same call goes on with them.

    Args:
        spec: The keys of the spec, or its file. A relative `base` is relative to the working directory, or to the
            folder of the file. Keys without a `name` have that of the run folder.
        run_dir: The run folder; one that exists is continued. `None`: runs/NAME.
        n_trials: Runs in total, over all launches. `None`, here and below: as in the spec.
        workers: Worker processes. 0: none, only watch those that are started elsewhere.
        engine: Where the workers run, `local` or `ray`.
        storage: URL of a database for the study. `None`: `$SWEEPS_STORAGE`, else a journal in the run folder.
        wandb: `auto`, `offline`, `online` or `disabled`.
        timeout: Limit for the whole sweep in seconds, or as `90s`, `30m`, `2h`.
        set: Dotted keys to set in the base, with their values.
        extend: Lets completed trials go on to this number of epochs, or for `+N` more; see `sweeps launch --help`.
        extend_best: Extends the best configurations alone, this many.
        dry_run: Check everything, start nothing.

    Returns:
        The sweep, also when trials failed, or all of them did: see `Sweep.state` and `Sweep.trials`.

    Raises:
        LitError: Bad input; nothing was started and no folder made.
        KeyboardInterrupt: It was interrupted; the running trials were given back.
    """
    from sweeps.definitions.import_paths import ImportPaths
    from sweeps.extend import ExtendRequest
    from sweeps.launcher import LaunchOptions
    from sweeps.launcher import launch as run
    from sweeps.spec.value_checks import one_of
    from sweeps.study.storage import storage_url

    _refuse_during_import("launch")
    one_of(engine, "engine", ENGINES)
    if wandb is not None:
        one_of(wandb, "wandb", get_args(Mode))
    request = ExtendRequest.parse(*(None if value is None else str(value) for value in (extend, extend_best)))
    paths, url = ImportPaths(), storage_url(storage)
    overrides = {"n_trials": n_trials, "workers": workers, "timeout": timeout}
    folder = None if run_dir is None else _folder(run_dir)
    parsed = _read_spec(spec, "sweep" if folder is None else folder.name, overrides, set or {}, paths)
    folder = folder or Path("runs") / parsed.name
    with paths.importable():
        options = LaunchOptions(folder, url, wandb, engine, request, paths.notebook_code())
        code = run(parsed, options, dry_run)
    if code == 130:
        raise KeyboardInterrupt
    return Sweep(folder, url)


def _read_spec(
    given: Mapping[str, Any] | Folder,
    name: str,
    overrides: Mapping[str, Any],
    settings: Mapping[str, Any],
    paths: ImportPaths,
) -> SweepSpec:
    from lit_dl.config.yaml_io import load_yaml
    from sweeps.spec.parse_spec import parse_spec
    from sweeps.spec.python_spec import plain_spec

    folder = Path()
    if not isinstance(given, Mapping):
        path = _folder(given)
        folder, name, given = path.parent, path.stem, load_yaml(path)
    given = {**given, **{key: value for key, value in overrides.items() if value is not None}}
    return parse_spec(plain_spec(given, paths), folder, name, plain_spec(settings, paths))


def _folder(path: Folder) -> Path:
    return Path(expand_path(os.fspath(path)))


def _refuse_during_import(function: str) -> None:
    """Refuses to start something in a module that is being imported, as a worker imports a script for its classes.

    Raises:
        ConfigError: An import is under way.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            raise ConfigError(
                f"sweeps.{function}",
                "must not be called while its module is imported, as each worker does; put the call below "
                'if __name__ == "__main__":',
            )


def load(run_dir: Folder, storage: str | None = None) -> Sweep:
    """Returns the sweep in a run folder, whether it runs, has finished, or was made by an older version.

    Args:
        run_dir: The run folder.
        storage: URL of the database of its study, for `Sweep.study` alone. `None`: `$SWEEPS_STORAGE`, else the journal.

    Raises:
        StorageError: It is not the run folder of a sweep.
    """
    folder = _folder(run_dir)
    if not (folder / "spec.yaml").is_file():
        raise StorageError(f"{folder}: must be the run folder of a sweep; it has no spec.yaml")
    return Sweep(folder, storage)


def enqueue(run_dir: Folder, params: Mapping[str, Any], storage: str | None = None) -> AddedTrial:
    """Adds a trial with these values to a sweep, as the command `sweeps add` does, also while it runs.

    The trial runs next, and once; with `seeds: 3` it runs three times, with another seed each. It counts: it is one of
    the `n_trials` of the sweep, so one less is sampled. Where all of those exist already, it comes on top of them, and
    `n_trials` need not grow. It waits for the next launch if the sweep does not run.

    Args:
        run_dir: The run folder.
        params: Values by key of the space. The others are sampled.
        storage: URL of the database of the study. `None`: `$SWEEPS_STORAGE`, else the journal.

    Returns:
        The trial: its number, and what is to be said about it.

    Raises:
        ConfigError: The space has no such key, or not this value for it.
        StorageError: It is not the run folder of a sweep, or the study cannot be opened.
    """
    from sweeps.added_trials import add_trial
    from sweeps.definitions.import_paths import ImportPaths
    from sweeps.spec.python_spec import plain_spec
    from sweeps.study.storage import storage_url

    _refuse_during_import("enqueue")
    return add_trial(load(run_dir).run_dir, plain_spec(params, ImportPaths()), storage_url(storage))
