"""How far a sweep is: `status.json` and `results.csv`, written whole by the launcher."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from optuna.trial import FrozenTrial

from lit_dl.files import write_text
from lit_dl.tracking import Mode
from sweeps.results import Row, ranking, rows_of, write_results
from sweeps.spec.spec import SweepSpec
from sweeps.study.liveness import identity
from sweeps.study.records import now
from sweeps.study.storage import without_password
from sweeps.study.study import SharedStudy


class Progress:
    """What a launcher knows of its sweep, kept in two files that everything else reads.

    Args:
        spec: The spec.
        study: The study.
        run_dir: The run folder.
        about: More for the status: storage, tracking, workers.
    """

    def __init__(self, spec: SweepSpec, study: SharedStudy, run_dir: Path, about: Mapping[str, Any]) -> None:
        self.spec, self.study, self.run_dir, self.about = spec, study, run_dir, about
        self.begun, self.started = monotonic(), now()
        self.rows: list[Row] = []
        self.running: list[dict[str, Any]] = []
        self._waiting = 0
        self._seen = (-1, -1)
        self._best: list[Row] = []
        self.seconds = 0.0

    def publish(self, state: str) -> dict[str, Any]:
        """Reads the study, writes what is new, and returns the status.

        Raises:
            OSError: The disk is full.
        """
        began = monotonic()
        trials, evaluations = self.study.trials(), self.study.attributes.evaluations()
        finished = sum(trial.state.is_finished() for trial in trials)
        if (finished, len(evaluations)) != self._seen:
            rows = rows_of(self.spec, trials, evaluations)
            self.rows = sorted(rows, key=lambda row: str(row["finished"]))
            self._best = ranking(self.rows, self.spec.objectives)[:1]
            write_results(self.run_dir / "results.csv", rows)
            self._seen = (finished, len(evaluations))
        self.running = [_running(trial) for trial in trials if trial.state.name == "RUNNING"]
        self._waiting = sum(trial.state.name == "WAITING" for trial in trials)
        status = self.status(state)
        write_text(self.run_dir / "status.json", json.dumps(status, indent=1))
        self.seconds = monotonic() - began
        return status

    def status(self, state: str) -> dict[str, Any]:
        """What `sweeps status` shows."""
        counts = {name: sum(row["state"] == name for row in self.rows) for name in ("COMPLETE", "PRUNED", "FAIL")}
        counts |= {"RUNNING": len(self.running), "WAITING": self._waiting}
        elapsed = monotonic() - self.begun
        return {
            "schema": 1,
            "name": self.spec.name,
            "state": state,
            "launcher": identity(),
            **self.about,
            "objectives": [{"metric": o.metric, "direction": o.direction} for o in self.spec.objectives],
            "n_trials": self.study.attributes.total,
            "counts": counts,
            "outcomes": dict(Counter(row["outcome"] for row in self.rows)),
            "started": self.started,
            "updated": now(),
            "elapsed_s": round(elapsed, 1),
            "left_s": self._left(elapsed) if state == "running" else None,
            "best": {key: self._best[0][key] for key in ("number", "value", "mean", "n")} if self._best else None,
            "running": self.running,
        }

    def _left(self, elapsed: float) -> float | None:
        """Seconds to go, if trials go on as those that ended in this launch."""
        here = self.of_this_launch()
        return round(elapsed / len(here) * (self.study.attributes.total - len(self.rows)), 1) if here else None

    def of_this_launch(self) -> list[Row]:
        """Rows of the trials that ended since it began."""
        return [row for row in self.rows if str(row["finished"]) >= self.started]

    def mark(self) -> tuple[int, int]:
        """Changes when a trial gets further: trials that ended, and epochs of those that run."""
        return len(self.rows), sum(row["epoch"] or 0 for row in self.running)


def about(url: str | None, wandb: Mode, workers: int, engine: str) -> dict[str, Any]:
    """What is said of a sweep beside its trials."""
    storage = without_password(url) if url else "journal"
    return {"storage": storage, "wandb": wandb, "workers": workers, "engine": engine}


def _running(trial: FrozenTrial) -> dict[str, Any]:
    values = trial.intermediate_values
    last = max(values, default=None)
    owner = trial.user_attrs.get("owner", {})
    since = owner.get("since")
    return {
        "number": trial.number,
        "slot": owner.get("slot"),
        "machine": str(owner.get("machine", "")).split("/")[0],
        "attempt": trial.user_attrs.get("attempt"),
        "epoch": last,
        "value": values[last] if last is not None else None,
        "elapsed_s": round((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 1) if since else None,
        "params": trial.params,
    }
