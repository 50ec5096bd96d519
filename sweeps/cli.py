"""`sweeps launch | worker | status | best | report | replay`. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lit_dl.errors import ConfigError, LitError

_WANDB = ("auto", "offline", "online", "disabled")


def _storage(args: argparse.Namespace) -> str | None:
    """The storage's URL; from the environment, where no command line shows its password."""
    from sweeps.study.storage import STORAGE_VARIABLE

    return args.storage if args.storage is not None else os.environ.get(STORAGE_VARIABLE)


def launch(args: argparse.Namespace) -> int:
    """Run a sweep, or go on with one that was interrupted."""
    from lit_dl.config.keys import parse_yaml
    from sweeps.launch import LaunchOptions, check_workers
    from sweeps.launch import launch as run
    from sweeps.spec.parse_spec import load_spec, parse_duration

    settings = {}
    for setting in args.set:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError("--set", f"must be dotted.key=value; got {setting!r}")
        settings[key] = parse_yaml(value, f"--set {key}")
    if args.run_dir == "":
        raise ConfigError("--run_dir", "must not be empty")
    if args.n_trials == "":
        raise ConfigError("n_trials", "must be a whole number, 1 or more; got ''")
    spec = load_spec(
        Path(args.spec),
        settings,
        n_trials=None if args.n_trials is None else parse_yaml(args.n_trials, "--n_trials"),
        workers=check_workers(args.workers),
        timeout=None if args.timeout is None else parse_duration(args.timeout, "timeout"),
    )
    run_dir = Path(args.run_dir) if args.run_dir else Path("runs") / spec.name
    url = _storage(args)
    return run(spec, LaunchOptions(run_dir, url, args.wandb, args.engine), args.dry_run)


def worker(args: argparse.Namespace) -> int:
    """Run trials of a sweep in this process, beside those that `launch` starts, on this or any machine."""
    from sweeps.run_folder import join_folder
    from sweeps.worker.loop import main as work

    url = _storage(args)
    run_dir = Path(args.run_dir) if args.run_dir else None
    run_dir = join_folder(run_dir, args.study, url)
    return work(run_dir, url, args.slot, args.threads, args.wandb, args.stop_on_stdin_eof)


def status(args: argparse.Namespace) -> int:
    """Show how far a sweep is."""
    from sweeps.results import counted, read_status
    from sweeps.study.liveness import is_alive

    found = read_status(Path(args.run_dir))
    if found["state"] == "running" and not is_alive(found["launcher"]):
        found["state"] = "killed"
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"{found['name']}: {found['state']}, {counted(found)} of {found['n_trials']}")
    started, updated = (found[key][:19].replace("T", " ") for key in ("started", "updated"))
    print(f"started {started} UTC, updated {updated} UTC, {found['elapsed_s']} s, {found['workers']} workers")
    for row in found["running"] if found["state"] == "running" else []:
        print(
            f"  trial {row['number']} in slot {row['slot']}: epoch {row['epoch']}, {row['value']}, {row['elapsed_s']} s"
        )
    if found["best"]:
        print(f"best so far: trial {found['best']['number']}, {found['best']['mean']:.6g}")
    if found["state"] not in ("running", "finished"):
        joined = "" if found["storage"] == "journal" else "; workers that joined it go on by themselves"
        print(f"launch it again to go on{joined}")
    return 0


def best(args: argparse.Namespace) -> int:
    """Show the best configuration, its checkpoint and its config."""
    from sweeps.results import ranking, read_results, read_status
    from sweeps.spec.spec import Objective

    run_dir = Path(args.run_dir)
    objectives = [Objective(**objective) for objective in read_status(run_dir)["objectives"]]
    ranked = ranking(read_results(run_dir), objectives)
    if not ranked:
        raise LitError(f"{run_dir}: no trial has completed yet")
    row = ranked[0]
    folder = run_dir / "trials" / f"{row['number']:05d}"
    files = {"config": folder / "config.yaml", "checkpoint": folder / "checkpoints" / "best.ckpt"}
    found = {**row, **{name: str(path) for name, path in files.items() if path.exists()}}
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    spread = f" ± {row['deviation']:.2g} (standard deviation)" if row["deviation"] is not None else ""
    what = f"{objectives[0].metric} {row['mean']:.6g}{spread}"
    print(f"trial {row['number']}: {what} over {row['n']} run(s), epoch {row.get('best_epoch')}")
    for group in ("params.", "metrics."):
        for key, value in row.items():
            if key.startswith(group):
                print(f"  {key.removeprefix(group):32} {value}")
    for name in files:
        if name in found:
            print(f"{name:10} {found[name]}")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write report.html: ranking, history, curves, importances; and print published figures and claims beside ours."""
    from sweeps.live import open_console
    from sweeps.report.comparison_tables import print_compared
    from sweeps.report.page import write_report
    from sweeps.report.sweep_data import read_sweep

    path = write_report(Path(args.run_dir), Path(args.output) if args.output else None)
    print_compared(read_sweep(Path(args.run_dir)), open_console())
    print(f"report {path}")
    return 0


def replay(args: argparse.Namespace) -> int:
    """Run a trial again from its saved config, and say whether the same came out."""
    from sweeps.replay import replay_trial

    return replay_trial(Path(args.run_dir), args.trial)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="sweeps", description="Hyperparameter sweeps of PyTorch Lightning runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: object, name: str) -> argparse.ArgumentParser:
        text = str(function.__doc__)
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    sub = add(launch, "launch")
    sub.add_argument("spec", metavar="SPEC.yaml", help="what to sweep; see configs/sweeps")
    sub.add_argument("--n_trials", metavar="N", help="runs in total, over all interruptions")
    sub.add_argument("--workers", metavar="N", help="auto: one a slot; 0: none, only watch those started elsewhere")
    sub.add_argument("--engine", choices=("local", "ray"), default="local", help="where workers run; default: here")
    sub.add_argument("--run_dir", metavar="DIR", help="default: runs/NAME; one that exists is continued")
    sub.add_argument(
        "--storage", metavar="URL", help="database for the study; default: $SWEEPS_STORAGE, else a journal in RUN_DIR"
    )
    sub.add_argument(
        "--wandb", choices=_WANDB, help="default: tracking.wandb of the base; auto: online with a key, else offline"
    )
    sub.add_argument("--timeout", metavar="T", help="for the whole sweep: seconds, or 90s, 30m, 2h")
    sub.add_argument("--dry_run", action="store_true", help="check everything, start nothing")
    sub.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="set keys of the base")

    sub = add(worker, "worker")
    sub.add_argument("run_dir", metavar="RUN_DIR", nargs="?", help="with --study, where to put files: runs/NAME")
    sub.add_argument("--study", metavar="NAME", help="a study in --storage, where there is no run folder yet")
    sub.add_argument("--storage", metavar="URL", help="as at the launch; default: $SWEEPS_STORAGE, else the journal")
    slot = int(os.environ.get("SLURM_PROCID", "0"))
    sub.add_argument("--slot", type=int, default=slot, help="its number in results; default: $SLURM_PROCID, else 0")
    sub.add_argument("--threads", type=int, default=1, help="CPU threads")
    sub.add_argument("--wandb", choices=_WANDB[1:], help="default: as the launcher settled it")
    sub.add_argument("--stop_on_stdin_eof", action="store_true", help="stop when standard input ends")

    for function, name in ((status, "status"), (best, "best")):
        sub = add(function, name)
        sub.add_argument("run_dir", metavar="RUN_DIR")
        sub.add_argument("--json", action="store_true", help="for programs")

    sub = add(report, "report")
    sub.add_argument("run_dir", metavar="RUN_DIR")
    sub.add_argument("--output", metavar="FILE", help="default: RUN_DIR/report.html")

    sub = add(replay, "replay")
    sub.add_argument("run_dir", metavar="RUN_DIR")
    sub.add_argument("--trial", type=int, required=True, metavar="N", help="number of the trial")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command; exits with 0 done, 1 all trials failed or a replay differs, 2 bad input, 130 interrupted."""
    args = build_parser().parse_args(argv)
    sys.path.insert(0, os.getcwd())  # as `python -m` does: a module of the user's in the current folder
    try:
        code = args.function(args)
    except LitError as error:
        print(error, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    sys.exit(code)
