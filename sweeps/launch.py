"""From a spec to a finished sweep: check, open or continue the folder, watch the workers, keep status and results."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from lit_dl.config import get_key
from lit_dl.errors import ConfigError
from lit_dl.files import write_text
from lit_dl.tracking import Mode, settle
from sweeps.check import Checked, check_in_child
from sweeps.engines.local import LocalEngine, place_slots
from sweeps.live import LiveView
from sweeps.locks import identity
from sweeps.results import Row, ranking, rows_of, write_results
from sweeps.run_folder import check_folder, check_same, open_folder
from sweeps.samplers import exhausted_at, rehearse
from sweeps.spec import SweepSpec
from sweeps.storage import without_password
from sweeps.study import SharedStudy

_POLL_S = 0.5
_MOST_QUICK_DEATHS = 5


@dataclass(frozen=True)
class Launch:
    """What was asked for on the command line beside the spec.

    Args:
        run_dir: The run folder.
        url: Storage; `None`: the journal in the run folder.
        wandb: Tracking mode; `None`: what the base says.
    """

    run_dir: Path
    url: str | None
    wandb: Mode | None


def launch(spec: SweepSpec, order: Launch, dry_run: bool = False) -> int:
    """Runs a sweep to its end.

    Returns:
        Exit status: 0 done, 1 every trial failed or too many in a row did, 130 interrupted.

    Raises:
        LitError: Bad input; nothing was started and no folder made.
    """
    begun = monotonic()
    check_folder(order.run_dir)
    _settled(order, spec)
    checked = check_in_child(spec)
    check_same(order.run_dir, checked.spec)
    exhausted_at(checked.spec)
    rehearse(checked.spec)
    print(f"checked {spec.name}: {_summary(checked)} ({monotonic() - begun:.1f} s)", flush=True)
    if dry_run:
        return 0
    with open_folder(order.run_dir):
        write_text(order.run_dir / "spec.yaml", checked.spec.dump())
        study = SharedStudy(order.run_dir, checked.spec, order.url, create=True)
        return Sweep(checked, order, study).run()


def _summary(checked: Checked) -> str:
    spec = checked.spec
    logged = f", logs {', '.join(checked.metrics)}" if checked.metrics else ""
    return f"{spec.n_trials} trials, {len(spec.space)} parameters, {len(spec.runs)} named runs{logged}"


def _settled(order: Launch, spec: SweepSpec) -> Mode:
    """Online, offline or disabled: asked once, for all trials."""
    try:
        said = spec.tracking.get("wandb") or get_key(spec.base, "tracking.wandb")
        return settle(order.wandb or said or "auto")
    except ConfigError as error:
        raise ConfigError("--wandb" if order.wandb else error.key, error.problem) from None


class Sweep:
    """A sweep that is ready to run: its study, its workers, and what is shown of them.

    Args:
        checked: The resolved spec and the devices.
        order: Where and how.
        study: The study, open.
    """

    def __init__(self, checked: Checked, order: Launch, study: SharedStudy) -> None:
        self.spec, self.order, self.study = checked.spec, order, study
        slots = place_slots(checked.spec.workers, checked.gpus)
        self.wandb = _settled(order, checked.spec)
        self.engine = LocalEngine(order.run_dir, slots, order.url, self.wandb)
        self.begun, self.started = monotonic(), datetime.now(UTC)
        self.stopping: str | None = None
        self.rows: list[Row] = []
        self._seen: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Starts the workers and stays until they are done, or told to stop."""
        given_back = self.study.reclaim(hosts=True)
        with LiveView(self.spec) as view, self._signals():
            for number in given_back:
                view.say(f"trial {number}: its worker died; it waits to run again")
            if not self.study.is_finished() or self.spec.evaluate_test == "best":
                self.engine.start()
            while self.engine.workers and self.stopping is None:
                sleep(_POLL_S)
                self._step(view)
            state = self.stopping or ("finished" if self.study.is_finished() else "unfinished")
            if self.stopping is not None:
                view.say(f"{self.stopping}: stopping the workers")
                self.engine.stop()
                self.study.reclaim()
            self._publish(view, state)
        view.end(self.status(state), self.rows, self.order.run_dir)
        return self._exit_status(state)

    def _step(self, view: LiveView) -> None:
        for slot in self.engine.collect():
            given_back = self.study.reclaim()
            what = f"trial {', '.join(map(str, given_back))} waits to run again" if given_back else "it had no trial"
            log = self.engine.log_of(slot)
            view.say(f"worker {slot} died; {what}; see {log}{_last_line(log)}")
            if self.engine.quick_deaths > _MOST_QUICK_DEATHS:
                self.stopping = "workers keep dying"
                return
            self.engine.restart(slot)
        self._publish(view, "running")
        if self.spec.timeout is not None and monotonic() - self.begun > self.spec.timeout:
            self.stopping = "timeout"
        last = self._rows_of_this_launch()[-self.spec.max_failures :]
        if len(last) == self.spec.max_failures and all(row["state"] == "FAIL" for row in last):
            self.stopping = f"the last {len(last)} trials failed"

    def _publish(self, view: LiveView, state: str) -> None:
        trials = self.study.trials()
        evaluations = self.study.evaluations()
        finished = sum(trial.state.is_finished() for trial in trials)
        if (finished, len(evaluations)) != self._seen:
            self._seen = (finished, len(evaluations))
            rows = rows_of(self.spec, trials, evaluations)
            self.rows = sorted(rows, key=lambda row: str(row["finished"]))
            write_results(self.order.run_dir / "results.csv", rows)
        self.running = [_running(trial) for trial in trials if trial.state.name == "RUNNING"]
        self.waiting = sum(trial.state.name == "WAITING" for trial in trials)
        status = self.status(state)
        write_text(self.order.run_dir / "status.json", json.dumps(status, indent=1))
        view.update(status, self.rows)

    def status(self, state: str) -> dict[str, Any]:
        """What `sweeps status` shows."""
        counts = {name: sum(row["state"] == name for row in self.rows) for name in ("COMPLETE", "PRUNED", "FAIL")}
        counts |= {"RUNNING": len(self.running), "WAITING": self.waiting}
        best = ranking(self.rows, self.spec.objectives)
        elapsed = monotonic() - self.begun
        return {
            "schema": 1,
            "name": self.spec.name,
            "state": state,
            "launcher": identity(),
            "storage": without_password(self.order.url) if self.order.url else "journal",
            "wandb": self.wandb,
            "objectives": [{"metric": o.metric, "direction": o.direction} for o in self.spec.objectives],
            "n_trials": self.study.total,
            "workers": len(self.engine.slots),
            "counts": counts,
            "outcomes": dict(Counter(row["outcome"] for row in self.rows)),
            "started": self.started.isoformat(timespec="seconds"),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "elapsed_s": round(elapsed, 1),
            "left_s": self._left(elapsed) if state == "running" else None,
            "best": {key: best[0][key] for key in ("number", "value", "mean", "n")} if best else None,
            "running": self.running,
        }

    def _left(self, elapsed: float) -> float | None:
        """Seconds to go, if trials go on as those that ended in this launch."""
        here = self._rows_of_this_launch()
        if not here:
            return None
        rest = self.study.total - len(self.rows)
        return round(elapsed / len(here) * rest, 1)

    def _rows_of_this_launch(self) -> list[Row]:
        return [row for row in self.rows if str(row["finished"]) >= self.started.isoformat()]

    def _exit_status(self, state: str) -> int:
        if state == "interrupted":
            return 130
        failed = bool(self.rows) and all(row["state"] == "FAIL" for row in self.rows)
        return 1 if failed or state not in ("finished", "timeout") else 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(*_: object) -> None:
            self.stopping = "interrupted"

        kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f", which ends: {lines[-1].strip()}" if lines else ""


def _running(trial: Any) -> dict[str, Any]:
    values = trial.intermediate_values
    last = max(values, default=None)
    since = trial.datetime_start
    return {
        "number": trial.number,
        "slot": trial.user_attrs.get("owner", {}).get("slot"),
        "attempt": trial.user_attrs.get("attempt"),
        "epoch": last,
        "value": values[last] if last is not None else None,
        "elapsed_s": round((datetime.now() - since).total_seconds(), 1) if since else None,
        "params": trial.params,
    }


def check_workers(value: str | None) -> int | None:
    """The number of workers from a command line: `None` for auto.

    Raises:
        ConfigError: Neither auto nor a whole number of 1 or more.
    """
    if value in (None, "auto"):
        return None
    assert value is not None
    if not re.fullmatch("[0-9]+", value) or int(value) < 1:
        raise ConfigError("workers", f"must be auto or a whole number, 1 or more; got {value!r}")
    return int(value)
