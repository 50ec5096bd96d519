"""The command line: `sweeps launch | worker | status | best | add | report | replay`.

Each command imports what it needs when it runs. So `sweeps --help` and `sweeps status` load no torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_dl.errors import ConfigError, LitError
from lit_dl.files import expand_path
from sweeps.engines.registry import ENGINES

if TYPE_CHECKING:
    from sweeps.spec.spec import SweepSpec

_WANDB = ("auto", "offline", "online", "disabled")


def launch(args: argparse.Namespace) -> int:
    """Run a sweep, or go on with one that was interrupted."""
    from sweeps.extend import ExtendRequest
    from sweeps.launcher import LaunchOptions
    from sweeps.launcher import launch as run
    from sweeps.study.storage import storage_url

    extend = ExtendRequest.parse(args.extend, args.extend_best)
    if (Path(args.spec) / "spec.yaml").is_file():  # a run folder stands for the spec in it
        args.run_dir, args.spec = args.run_dir or args.spec, os.path.join(args.spec, "spec.yaml")
    spec = read_spec(args)
    run_dir = Path(args.run_dir) if args.run_dir else Path("runs") / spec.name
    options = LaunchOptions(run_dir, storage_url(args.storage), args.wandb, args.engine, extend)
    return run(spec, options, args.dry_run)


def read_spec(args: argparse.Namespace) -> SweepSpec:
    """Returns the spec that `sweeps launch` names, with the options that replace keys of it.

    Raises:
        ConfigError: The spec or an option is wrong.
    """
    from lit_dl.config.yaml_io import parse_yaml
    from sweeps.launcher import check_workers
    from sweeps.spec.parse_spec import load_spec
    from sweeps.spec.value_checks import duration

    settings = _settings(args.set, "--set")
    if args.run_dir == "":
        raise ConfigError("--run_dir", "must not be empty")
    if args.n_trials == "":
        raise ConfigError("n_trials", "must be a whole number, 1 or more; got ''")
    return load_spec(
        Path(args.spec),
        settings,
        n_trials=None if args.n_trials is None else parse_yaml(args.n_trials, "--n_trials"),
        workers=check_workers(args.workers),
        timeout=None if args.timeout is None else duration(args.timeout, "timeout"),
    )


def _settings(words: Sequence[str], option: str) -> dict[str, Any]:
    """Returns the values of words such as `model.lr=0.1`, by their keys.

    Raises:
        ConfigError: A word is no key and value. The error begins with the option.
    """
    from lit_dl.config.yaml_io import parse_yaml

    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(option, f"must be dotted.key=value; got {word!r}")
        settings[key] = parse_yaml(value, f"{option} {key}")
    return settings


def worker(args: argparse.Namespace) -> int:
    """Run trials of a sweep in this process, beside those that `launch` starts, on this or any machine."""
    from sweeps.definitions.notebook_code import add_to_path
    from sweeps.run_folder import join_folder
    from sweeps.study.storage import storage_url
    from sweeps.worker.loop import main as work

    url = storage_url(args.storage)
    run_dir = Path(args.run_dir) if args.run_dir else None
    run_dir = join_folder(run_dir, args.study, url)
    add_to_path(run_dir)
    return work(run_dir, url, args.slot, args.threads, args.wandb, args.stop_on_stdin_eof)


def status(args: argparse.Namespace) -> int:
    """Show how far a sweep is."""
    from sweeps.results.status_file import (
        STOPPED,
        count_text,
        front_lines,
        how_to_go_on,
        live_status,
        running_text,
        total_text,
    )

    found = live_status(Path(args.run_dir))
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"{found['name']}: {found['state']}, {count_text(found)} of {total_text(found)}")
    started, updated = (found[key][:19].replace("T", " ") for key in ("started", "updated"))
    print(f"started {started} UTC, updated {updated} UTC, {found['elapsed_s']} s, {found['workers']} workers")
    for row in found["running"] if found["state"] == "running" else []:
        print(f"  {running_text(row)}")
    if found["state"] == "running" and found.get("left_s") is not None:
        print(f"about {found['left_s']:.0f} s left")
    if front := front_lines(found):
        print("\n".join(front))
    elif found["best"]:
        print(f"best so far: trial {found['best']['number']}, {found['best']['mean']:.6g}")
    elif found.get("none_feasible"):
        print(found["none_feasible"])
    if found["state"].startswith(STOPPED):
        print(how_to_go_on(found["state"]))
    elif found["state"] not in ("running", "finished"):
        joined = "" if found["storage"] == "journal" else "; workers that joined it go on by themselves"
        print(f"launch it again to go on{joined}")
    return 0


def best(args: argparse.Namespace) -> int:
    """Show the best configuration, its checkpoint and its config; with several objectives the whole Pareto front."""
    from sweeps.best import print_best

    print_best(Path(args.run_dir), args.json)
    return 0


def add(args: argparse.Namespace) -> int:
    """Add a trial with values of your own; the others are sampled. Works beside a running sweep."""
    from sweeps.api import enqueue

    print(enqueue(args.run_dir, _settings(args.values, "KEY=VALUE"), args.storage))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write report.html: ranking, history, curves, importances; and print published figures and claims beside ours."""
    from sweeps.live import open_console
    from sweeps.report.comparison_tables import print_comparisons
    from sweeps.report.page import write_report
    from sweeps.report.sweep_data import read_sweep

    path = write_report(Path(args.run_dir), Path(args.output) if args.output else None)
    print_comparisons(read_sweep(Path(args.run_dir)), open_console())
    print(f"report {path}")
    return 0


def replay(args: argparse.Namespace) -> int:
    """Run a trial again from its saved config, and say whether the same came out."""
    from sweeps.replay import replay_trial

    return replay_trial(Path(args.run_dir), args.trial)


_EXTEND = (
    "completed trials of RUN_DIR go on from their last epoch: 20, to 20 epochs in all; +10, for 10 more. Each is a "
    "trial of its own, which then stands for the other; n_trials does not count it. A learning-rate schedule that "
    "depends on max_epochs is that of the new length from there on. Trials that stopped early, and those without "
    "last.ckpt, are left out and named. The same command goes on after an interruption"
)


def _launch_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("spec", metavar="SPEC.yaml", type=expand_path, help="what to sweep, see configs/sweeps; or a RUN_DIR")
    add("--n_trials", metavar="N", help="runs in total, over all interruptions")
    add("--workers", metavar="N", help="auto: one a slot; 0: none, only watch those started elsewhere")
    add("--engine", choices=tuple(ENGINES), default="local", help="where workers run; default: here")
    add("--run_dir", metavar="DIR", type=expand_path, help="default: runs/NAME; one that exists is continued")
    add("--storage", metavar="URL", help="database for the study; default: $SWEEPS_STORAGE, else a journal in RUN_DIR")
    add("--wandb", choices=_WANDB, help="default: tracking.wandb of the base; auto: online with a key, else offline")
    add("--timeout", metavar="T", help="for the whole sweep: seconds, or 90s, 30m, 2h")
    add("--extend", metavar="EPOCHS", help=_EXTEND)
    add("--extend_best", metavar="K", help="extend only the K best configurations; default: all that have completed")
    add("--dry_run", action="store_true", help="check everything, start nothing")
    add("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="set keys of the base")


def _worker_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_dir", metavar="RUN_DIR", nargs="?", type=expand_path, help="with --study, where to put files: runs/NAME")
    add("--study", metavar="NAME", help="a study in --storage, where there is no run folder yet")
    add("--storage", metavar="URL", help="as at the launch; default: $SWEEPS_STORAGE, else the journal")
    slot = int(os.environ.get("SLURM_PROCID", "0"))
    add("--slot", type=int, default=slot, help="its number in results; default: $SLURM_PROCID, else 0")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--wandb", choices=_WANDB[1:], help="default: as the launcher settled it")
    add("--stop_on_stdin_eof", action="store_true", help="stop when standard input ends")


def _run_dir_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=expand_path)
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=expand_path)
    parser.add_argument("values", metavar="KEY=VALUE", nargs="+", help="keys of the space, such as model.lr=0.01")
    parser.add_argument("--storage", metavar="URL", help="as at the launch; default: $SWEEPS_STORAGE, else the journal")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=expand_path)
    parser.add_argument("--output", metavar="FILE", type=expand_path, help="default: RUN_DIR/report.html")


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", type=expand_path)
    parser.add_argument("--trial", type=int, required=True, metavar="N", help="number of the trial")


_LAUNCH_RULES = """\
early stopping:
  on for models of ours and their subclasses, by the objective; off for modules of others unless the base, the space or
  a named run sets a key of early_stopping. early_stopping: null, false, {monitor: null} and {patience: null} switch it
  off. The first lines of a launch say which.

an objective that is not finite (key divergence of the spec):
  loss       a trial has diverged when a loss is not finite at the same moment (a metric with the word loss in its name,
             or the loss of the last training step), or when it ends without a finite value. The default.
  objective  a trial has diverged at once.
"""


# Each command: its function, which returns the exit status, and the function that adds its arguments to a parser.
_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None]]] = {
    "launch": (launch, _launch_arguments),
    "worker": (worker, _worker_arguments),
    "status": (status, _run_dir_and_json),
    "best": (best, _run_dir_and_json),
    "add": (add, _add_arguments),
    "report": (report, _report_arguments),
    "replay": (replay, _replay_arguments),
}


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line. The docstring of a command is its help."""
    parser = argparse.ArgumentParser(prog="sweeps", description="Hyperparameter sweeps of PyTorch Lightning runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add_arguments) in _COMMANDS.items():
        subparser = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        if function is launch:
            subparser.epilog = _LAUNCH_RULES
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        subparser.set_defaults(function=function)
        add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits.

    Exit status: 0 done, 1 all trials failed or a replay differs, 2 bad input, 130 interrupted.
    """
    args = build_parser().parse_args(argv)
    sys.path.insert(0, os.getcwd())  # as `python -m` does, so that modules in the current folder can be named
    try:
        code = args.function(args)
    except LitError as error:
        print(error, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    sys.exit(code)
