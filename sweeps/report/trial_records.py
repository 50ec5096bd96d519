"""What the page holds of every trial: its curve, its config, the end of its log, its W&B run.

Lines of configs and logs are kept once in the page: the configs of a sweep differ in a few lines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sweeps.report.sweep_data import SweepData
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import Curve, TrialFolder

MAX_POINTS = 200  # of a curve in the page
_LOG_BYTES, _LOG_LINES, _LINE_LENGTH = 1500, 8, 200
_MOST_CONFIG_LINES = 400


class Lines:
    """Numbers the distinct lines of texts.

    Attributes:
        texts: The distinct lines, in the order of their numbers.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def numbers(self, lines: Sequence[str]) -> list[int]:
        """Returns the number of each line."""
        return [self._numbers.setdefault(line, len(self._numbers)) for line in lines]


def trial_records(sweep: SweepData) -> dict[str, Any]:
    """Returns the records of all trials by column, in the order of `sweep.trials`, for the scripts of the page.

    A trial without a file has `None` there: the folder may be a copy without it.
    """
    lines = Lines()
    trials = sweep.trials
    folders = [sweep.folder(trial.number) for trial in trials]
    records = {
        "numbers": [trial.number for trial in trials],
        "names": [trial.run for trial in trials],
        "outcomes": [trial.outcome.replace("_", " ") for trial in trials],
        "reasons": [trial.reason for trial in trials],
        "values": [_short(trial.value) for trial in trials],
        "best_epochs": [trial.best_epoch for trial in trials],
        "is_best": [trial.number in sweep.best_numbers for trial in trials],
        "keys": _keys(sweep, trials),
        "curves": [_curve(sweep.curves.get(trial.number, [])) for trial in trials],
        "configs": [_text_lines(lines, _config(folder)) for folder in folders],
        "logs": [_text_lines(lines, _log_tail(folder.log)) for folder in folders],
        "wandb": [_wandb(sweep, folder) for folder in folders],
        "paths": str(sweep.run_dir / "trials"),
        "metric": sweep.metric,
        "sign": sweep.sign,
    }
    return {**records, "lines": lines.texts}


def _keys(sweep: SweepData, trials: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """Returns what curves can be coloured by: the parameters, and the named configurations."""
    named = [{"name": "configuration", "values": [trial.run for trial in trials]}] if sweep.spec.runs else []
    params = [(name, [_short(trial.params.get(name)) for trial in trials]) for name in sweep.names]
    return named + [{"name": sweep.names[name], "values": values} for name, values in params]


def _curve(curve: Curve) -> list[Any]:
    """Returns the epochs and the values of a curve; a long one with every n-th epoch, its last among them."""
    step = -(-len(curve) // MAX_POINTS) or 1
    kept = curve[(len(curve) - 1) % step :: step]
    epochs = [epoch for epoch, _ in kept]
    is_dense = epochs == list(range(1, len(kept) + 1))
    return [None if is_dense else epochs, [_short(value) for _, value in kept]]


def _short(value: Any) -> Any:
    """Returns a number with the digits that a plot can show; a text for what JSON cannot hold."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if abs(value) < float("inf") else str(value)


def _text_lines(lines: Lines, texts: list[str] | None) -> list[int] | None:
    return None if texts is None else lines.numbers(texts)


def _config(folder: TrialFolder) -> list[str] | None:
    try:
        with folder.config.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n")[:_LINE_LENGTH] for line in islice(file, _MOST_CONFIG_LINES)]
    except OSError:
        return None


def _log_tail(path: Path) -> list[str] | None:
    """Returns the last lines of a log, which may be long; `None` without the file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES)
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    lines = text.splitlines()[1 if start else 0 :]
    return [line[:_LINE_LENGTH] for line in lines[-_LOG_LINES:]]


def _wandb(sweep: SweepData, folder: TrialFolder) -> dict[str, str] | None:
    """Returns id and folder of a trial's W&B run, and its address where the entity is known; `None` without a run."""
    last = max(folder.wandb_runs(), key=lambda path: path.name.removeprefix("offline-"), default=None)
    if last is None:
        return None
    is_offline = last.name.startswith("offline-")
    run_id = last.name.removeprefix("offline-").split("-", 2)[-1]
    tracking = {**(sweep.spec.base.get("tracking") or {}), **sweep.spec.tracking}
    run = {"id": run_id, "folder": str(last)}
    if is_offline or not tracking.get("entity") or not tracking.get("project"):
        return run
    host = os.environ.get("WANDB_BASE_URL", "https://wandb.ai").replace("//api.wandb.ai", "//wandb.ai").rstrip("/")
    return {**run, "url": f"{host}/{tracking['entity']}/{tracking['project']}/runs/{run_id}"}
