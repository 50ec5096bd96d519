"""Launches a sweep: checks the spec, opens or continues the run folder, and runs the supervisor."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from lit_dl.config.keys import get_key
from lit_dl.errors import ConfigError
from lit_dl.files import write_text
from lit_dl.tracking import Mode, resolve_wandb_mode
from sweeps.definitions.notebook_code import add_to_path, write_code
from sweeps.engines.engine import WorkerCommand
from sweeps.engines.registry import find_engine
from sweeps.extend import ExtendRequest, check_extendable, plan_extension
from sweeps.processes.fork_server import fork_server
from sweeps.results.older_trials import read_older_sweeps
from sweeps.run_folder import check_folder, check_same, open_folder, with_earlier_defaults
from sweeps.spec.early_stopping import early_stopping_text
from sweeps.spec.preflight import Checked, check_in_child
from sweeps.spec.spec import SweepSpec
from sweeps.status import Progress, launch_entries
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampler_notes import sampler_notes
from sweeps.study.sampling import grid_size
from sweeps.study.study import SharedStudy
from sweeps.study.warm_start import OlderTrial
from sweeps.supervisor import SweepSupervisor

_INTERRUPTED = 130  # who pressed Ctrl-C does not wait for a report


@dataclass(frozen=True)
class LaunchOptions:
    """The options of a launch that are not part of the spec.

    Args:
        run_dir: The run folder.
        url: Storage; `None`: the journal in the run folder.
        wandb: Tracking mode; `None`: what the base says.
        engine: local or ray.
        extend: Which completed trials go on for more epochs; `None`: none that has not begun to.
        notebook_code: Source of what the trials use of a notebook; `None`: nothing.
    """

    run_dir: Path
    url: str | None = field(repr=False)
    wandb: Mode | None
    engine: str = "local"
    extend: ExtendRequest | None = None
    notebook_code: str | None = field(default=None, repr=False)


def launch(spec: SweepSpec, options: LaunchOptions, dry_run: bool = False) -> int:
    """Runs a sweep to its end.

    Returns:
        Exit status: 0 done, 1 every trial failed or too many in a row did, 130 interrupted.

    Raises:
        LitError: Bad input; nothing was started and no folder made.
    """
    begun = monotonic()
    check_folder(options.run_dir)
    if options.notebook_code is None:
        add_to_path(options.run_dir)
    fork_server().start()
    mode = _wandb_mode(options, spec)
    checked = _check(spec, options, mode)
    older = read_older_sweeps(checked.spec, options.run_dir)
    print(f"checked {spec.name}: {_summary(checked)} ({monotonic() - begun:.1f} s)", flush=True)
    print(early_stopping_text(spec, checked.spec), flush=True)
    for line in [*(f"note: {note}" for note in checked.notes), *older, *sampler_notes(checked.spec)]:
        print(line, flush=True)
    if options.extend is not None:
        with closing(_existing(checked.spec, options)) as study:
            print(plan_extension(study, options.run_dir, options.extend)[1], flush=True)
    if dry_run:
        return 0
    with open_folder(options.run_dir):
        status = _run(checked, options, mode, [trial for sweep in older for trial in sweep.fitting])
        if status != _INTERRUPTED:
            _write_report(options.run_dir)
        return status


def _check(spec: SweepSpec, options: LaunchOptions, mode: Mode) -> Checked:
    """Makes all checks that need no study, and returns the spec with what they found."""
    checked = check_in_child(with_earlier_defaults(options.run_dir, spec), mode)
    check_same(options.run_dir, checked.spec)
    if options.extend is not None:
        check_extendable(options.run_dir, options.url, checked.spec)
    grid_size(checked.spec)
    dry_run_sampler(checked.spec)
    find_engine(options.engine).check_room(checked.spec, checked.gpus)
    return checked


def _run(checked: Checked, options: LaunchOptions, mode: Mode, older: list[OlderTrial]) -> int:
    """Runs the trials in the folder, which this process has locked; returns the exit status."""
    spec, run_dir, url = checked.spec, options.run_dir, options.url
    write_text(run_dir / "spec.yaml", spec.dump())
    if options.notebook_code is not None:
        write_code(run_dir, options.notebook_code)
    command = WorkerCommand(run_dir, spec.name, url, mode)
    with closing(SharedStudy(run_dir, spec, url, create=True)) as study:
        study.attributes.wandb = mode
        study.warm_start(older)
        if options.extend is not None:
            study.extensions.start(plan_extension(study, run_dir, options.extend)[0])
        with find_engine(options.engine).for_sweep(command, spec, checked.gpus) as engine:
            about = launch_entries(url, mode, len(engine.slots), options.engine)
            return SweepSupervisor(study, engine, Progress(spec, study, run_dir, about)).run()


def _existing(spec: SweepSpec, options: LaunchOptions) -> SharedStudy:
    try:
        return SharedStudy(options.run_dir, spec, options.url)
    except LookupError:
        raise ConfigError("--extend", f"must have a study with completed trials; {spec.name!r} is not there") from None


def _write_report(run_dir: Path) -> None:
    """Writes the report and prints its path. Whatever is wrong with the report, the sweep is done."""
    from sweeps.report.page import write_report

    try:
        print(f"report {write_report(run_dir)}", flush=True)
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"no report was written ({why}); once that is mended: sweeps report {run_dir}", flush=True)


def _summary(checked: Checked) -> str:
    spec = checked.spec
    logged = f", logs {', '.join(checked.metrics)}" if checked.metrics else ""
    return f"{spec.n_trials} trials, {len(spec.space)} parameters, {len(spec.runs)} named runs{logged}"


def _wandb_mode(options: LaunchOptions, spec: SweepSpec) -> Mode:
    """Resolves `auto` to online or offline. It asks the W&B server, so a launch calls it once, for all trials."""
    try:
        given = spec.tracking.get("wandb") or get_key(spec.base, "tracking.wandb")
        return resolve_wandb_mode(options.wandb or given or "auto")
    except ConfigError as error:
        raise ConfigError("--wandb" if options.wandb else error.key, error.problem) from None


def check_workers(value: str | None) -> int | None:
    """Parses the number of workers from a command line; `None` stands for auto.

    Raises:
        ConfigError: Neither auto nor a whole number.
    """
    if value in (None, "auto"):
        return None
    assert value is not None
    if not re.fullmatch("[0-9]+", value):
        raise ConfigError("workers", f"must be auto or a whole number, 0 or more; got {value!r}")
    return int(value)
