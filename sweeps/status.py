"""The launcher's view of a sweep: writes `status.json`, `results.jsonl` and `results.csv`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from optuna.trial import FrozenTrial

from lit_dl.config.overlay import overlay
from lit_dl.files import write_text
from lit_dl.run.run_config import validations_of
from lit_dl.tracking import Mode
from sweeps.results.files import write_results
from sweeps.results.ranking import RankedConfiguration, none_feasible, ranking, winners
from sweeps.results.status_file import STATUS_JSON
from sweeps.results.trial_result import TrialResult, finished_results
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import extended_number
from sweeps.study.liveness import identity
from sweeps.study.records import now
from sweeps.study.storage import without_password
from sweeps.study.study import SharedStudy
from sweeps.time_left import RunningTrial, estimate_left_s


class Progress:
    """Reads the study, and writes the files that every other command reads.

    Args:
        spec: The spec.
        study: The study.
        run_dir: The run folder.
        about: More entries for `status.json`: storage, tracking, workers.

    Attributes:
        results: Results of the finished trials, in order of their ends.
        running: The running trials, as `status.json` has them.
        begun: Start of the launch on the monotonic clock.
        publish_s: Seconds that the last `publish` took.
    """

    def __init__(self, spec: SweepSpec, study: SharedStudy, run_dir: Path, about: Mapping[str, Any]) -> None:
        self.spec = spec
        self.study = study
        self.run_dir = run_dir
        self.about = about
        self.begun = monotonic()
        self.started = now()
        self.results: list[TrialResult] = []
        self.running: list[dict[str, Any]] = []
        self.publish_s = 0.0
        self._n_waiting = self._n_extensions = 0
        self._written = (-1, -1)  # finished trials, and evaluated ones
        self._best: list[RankedConfiguration] = []
        self._none_feasible = ""

    def publish(self, state: str) -> dict[str, Any]:
        """Reads the study, writes the files, and returns the status. Results are written only when there are new ones.

        Raises:
            OSError: The disk is full.
        """
        began = monotonic()
        trials, evaluations = self.study.trials(), self.study.attributes.evaluations()
        finished = sum(trial.state.is_finished() for trial in trials)
        if (finished, len(evaluations)) != self._written:
            results = finished_results(self.spec, trials, evaluations)
            self.results = sorted(results, key=lambda result: str(result.finished))
            ranked = ranking(self.results, self.spec.objectives)
            self._best, self._none_feasible = winners(ranked), none_feasible(ranked)
            write_results(self.run_dir, results)
            self._written = (finished, len(evaluations))
        self.running = [_running_entry(trial) for trial in trials if trial.state.name == "RUNNING"]
        self._n_waiting = sum(trial.state.name == "WAITING" for trial in trials)
        self._n_extensions = sum(extended_number(trial) is not None for trial in trials)
        status = self.status(state)
        write_text(self.run_dir / STATUS_JSON, json.dumps(status, indent=1))
        self.publish_s = monotonic() - began
        return status

    def status(self, state: str) -> dict[str, Any]:
        """Returns the content of `status.json`."""
        states = Counter(result.state for result in self.results)
        counts = {name: states[name] for name in ("COMPLETE", "PRUNED", "FAIL")}
        counts |= {"RUNNING": len(self.running), "WAITING": self._n_waiting}
        elapsed_s = monotonic() - self.begun
        return {
            "schema": 1,
            "name": self.spec.name,
            "state": state,
            "launcher": identity(),
            **self.about,
            "objectives": [{"metric": o.metric, "direction": o.direction} for o in self.spec.objectives],
            "n_trials": self.study.attributes.total,
            "n_extensions": self._n_extensions,
            "counts": counts,
            "infeasible": sum(bool(result.infeasible) for result in self.results),
            "outcomes": dict(Counter(result.outcome for result in self.results)),
            "started": self.started,
            "updated": now(),
            "elapsed_s": round(elapsed_s, 1),
            "left_s": self._left_s() if state == "running" else None,
            "best": _best_entry(self._best),
            "none_feasible": self._none_feasible,
            "front": self._front(),
            "running": self.running,
        }

    def _front(self) -> list[dict[str, Any]]:
        """Returns the configurations on the Pareto front; none in a sweep with one objective."""
        metrics = [objective.metric for objective in self.spec.objectives]
        return [
            {
                "number": entry.best_trial.number,
                "values": {metric: entry.statistics(metric)[0] for metric in metrics},
                "n": len(entry.trials),
            }
            for entry in self._best
            if entry.on_pareto_front
        ]

    def _left_s(self) -> float | None:
        """Estimates the seconds until all trials have ended; `None` before the first has."""
        durations = [result.elapsed_s for result in self.results if result.elapsed_s is not None]
        if not durations:
            return None
        running = [self._running_trial(entry) for entry in self.running if entry["elapsed_s"] is not None]
        total = self.study.attributes.total + self._n_extensions
        waiting = total - len(self.results) - len(running)
        workers = max(len(running), int(self.about.get("workers", 0)), 1)
        return round(estimate_left_s(durations, running, max(waiting, 0), workers), 1)

    def _running_trial(self, entry: Mapping[str, Any]) -> RunningTrial:
        elapsed_s, epoch = entry["elapsed_s"], entry["epoch"]
        sampled = {key: value for key, value in entry["params"].items() if key == "trainer.max_epochs"}
        last = validations_of(overlay(self.spec.base, sampled).get("trainer") or {})
        if not epoch or last is None or last < epoch or entry["extends"] is not None:
            return RunningTrial(elapsed_s)
        return RunningTrial(elapsed_s, elapsed_s * max(1.0, last / (epoch + 0.5)))  # it is within the next one

    def n_winners(self) -> int:
        """Returns the number of trials of the best configurations, which are evaluated on the test set."""
        return sum(len(entry.trials) for entry in self._best)

    def mark(self) -> tuple[int, int]:
        """Returns a value that changes with every epoch and every finished trial, for telling whether work advances."""
        return len(self.results), sum(entry["epoch"] or 0 for entry in self.running)


def launch_entries(url: str | None, wandb: Mode, workers: int, engine: str) -> dict[str, Any]:
    """Returns the entries of `status.json` that describe the launch. The storage URL is without its password."""
    storage = without_password(url) if url else "journal"
    return {"storage": storage, "wandb": wandb, "workers": workers, "engine": engine}


def _best_entry(best: list[RankedConfiguration]) -> dict[str, Any] | None:
    """Returns the best configuration; with several objectives the first of the front."""
    if not best:
        return None
    trial = best[0].best_trial
    return {"number": trial.number, "value": trial.value, "mean": best[0].mean, "n": len(best[0].trials)}


def _running_entry(trial: FrozenTrial) -> dict[str, Any]:
    values = trial.intermediate_values
    epoch = max(values, default=None)
    owner = trial.user_attrs.get("owner", {})
    since = owner.get("since")
    return {
        "number": trial.number,
        "slot": owner.get("slot"),
        "machine": str(owner.get("machine", "")).split("/")[0],
        "attempt": trial.user_attrs.get("attempt"),
        "epoch": epoch,
        "value": values[epoch] if epoch is not None else None,
        "elapsed_s": round((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 1) if since else None,
        "params": trial.params,
        "extends": extended_number(trial),
    }
