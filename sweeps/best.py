"""What `sweeps best` prints: the best configuration, or the Pareto front."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lit_dl.errors import LitError
from sweeps.results.files import read_results
from sweeps.results.ranking import RankedConfiguration, none_feasible, ranking, winners
from sweeps.results.status_file import read_status
from sweeps.spec.objective import Objective
from sweeps.trial_folder import TrialFolder


def print_best(run_dir: Path, as_json: bool) -> None:
    """Prints the best configuration with its files; with several objectives all on the Pareto front.

    Raises:
        LitError: There is none.
    """
    objectives = [Objective(**objective) for objective in read_status(run_dir)["objectives"]]
    ranked = ranking(read_results(run_dir), objectives)
    best = winners(ranked)
    if not best:
        raise LitError(f"{run_dir}: {none_feasible(ranked) or 'no trial has completed yet'}")
    if as_json:
        rows = [{**entry.to_row(), **_files(run_dir, entry)} for entry in best]
        print(json.dumps({"front": rows} if len(objectives) > 1 else rows[0], indent=1))
        return
    if len(objectives) > 1:
        print(f"{len(best)} on the Pareto front, which no other beats in all objectives")
    for entry in best:
        _print_configuration(run_dir, entry, [objective.metric for objective in objectives])


def _print_configuration(run_dir: Path, entry: RankedConfiguration, metrics: Sequence[str]) -> None:
    trial = entry.best_trial
    means = {metric: entry.statistics(metric) for metric in metrics} | {metrics[0]: (entry.mean, entry.std)}
    texts = [f"{metric} {_mean_text(*figures)}" for metric, figures in means.items()]
    print(f"trial {trial.number}: {', '.join(texts)} over {len(entry.trials)} run(s), epoch {trial.best_epoch}")
    for key, value in [*sorted(trial.params.items()), *sorted(trial.best.items())]:
        if value is not None:
            print(f"  {key:32} {value}")
    if entry.untested:
        print(f"not evaluated on the test set: {entry.untested}")
    for name, path in _files(run_dir, entry).items():
        print(f"{name:10} {path}")


def _mean_text(mean: float | None, std: float | None) -> str:
    spread = f" ± {std:.2g} (standard deviation)" if std is not None else ""
    return "missing" if mean is None else f"{mean:.6g}{spread}"


def _files(run_dir: Path, entry: RankedConfiguration) -> dict[str, str]:
    """Returns the config and the checkpoint of the best trial of a configuration, as far as they exist."""
    folder = TrialFolder(run_dir, entry.best_trial.number)
    paths = {"config": folder.config if folder.config.exists() else None, "checkpoint": folder.checkpoint()}
    return {name: str(path) for name, path in paths.items() if path is not None}
