"""The supervisor of a sweep: starts workers, restarts those that crash, and stops all when the sweep ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from lit_dl.files import is_disk_full
from sweeps.engines.engine import GRACE_S, Engine
from sweeps.live import LiveView
from sweeps.results.status_file import STOPPED
from sweeps.status import Progress
from sweeps.study.retry import OutageRetry, transient_reason
from sweeps.study.study import SharedStudy

_POLL_S = 0.5
_MOST_OF_THE_TIME = 0.05  # that the launcher spends on status and results: thousands of trials take a while to write
_MAX_CRASHES_IN_A_ROW = 5
_WAIT_FOR_EVALUATION_S = 60.0  # for a worker on another machine that evaluates the winner on the test set


class SweepSupervisor:
    """Starts the workers of a sweep, restarts those that crash, and publishes the progress until the sweep ends.

    Args:
        study: The study.
        engine: Runs the workers.
        progress: Writes the files that show the progress.
    """

    def __init__(self, study: SharedStudy, engine: Engine, progress: Progress) -> None:
        self.spec, self.study, self.engine, self.progress = study.spec, study, engine, progress
        self.run_dir = progress.run_dir
        self.stopping: str | None = None
        self.stop = threading.Event()
        self._answer = threading.Event()
        self._published = self._deaths = 0.0
        self._mark = (-1, -1)
        self._over_since: float | None = None
        self._is_full = self._said_why = False

    def run(self) -> int:
        """Starts the workers and returns when they have ended, or when the sweep must stop."""
        with LiveView(self.spec) as view, self._signals(), self._answers(view):
            self.study.retry = OutageRetry(self.stop, view.say)
            for number in self.study.reclaim(elsewhere=True):
                view.say(f"trial {number}: its worker died; it waits to run again")
            if not self.study.is_finished() or self.spec.evaluate_test == "best":
                self.engine.start()
            try:
                while self._goes_on():
                    self.stop.wait(_POLL_S)
                    if self.stopping is None:
                        self._step(view)
                state = self._end(view)
            except Exception as error:
                if transient_reason(error) is None or self.stopping is None:
                    raise
                self.engine.stop()
                view.say("the study's storage is away: what ran is given back at the next launch")
                state = self.stopping
        view.end(self.progress.status(state), self.progress.results, self.run_dir)
        return self._exit_status(state)

    def _goes_on(self) -> bool:
        """Returns whether any worker, here or on another machine, still has something to do."""
        if self.stopping is not None or set(self.engine.workers) - self.engine.pending:
            return self.stopping is None
        if not self.study.is_over():  # without workers of its own, a launcher waits for those of others
            return bool(self.engine.pending) or not self.engine.slots
        self._over_since = self._over_since or monotonic()
        return not self._is_evaluated() and monotonic() - self._over_since < _WAIT_FOR_EVALUATION_S

    def _is_evaluated(self) -> bool:
        """Returns whether no worker on another machine evaluates the test set, or is going to."""
        if self.spec.evaluate_test != "best" or not self.study.is_finished():
            return True
        is_here = bool(self.engine.slots)  # and has ended, evaluation and all
        return not self.study.attributes.is_evaluating() and (
            is_here or len(self.study.attributes.evaluations()) >= self.progress.n_winners()
        )

    def _step(self, view: LiveView) -> None:
        for death in self.engine.collect():
            given_back = self.study.reclaim(reason=f"its worker {death.how}")
            what = f"trial {', '.join(map(str, given_back))} waits to run again" if given_back else "it had no trial"
            tail = f", which ends: {death.last_line}" if death.last_line else ""
            view.say(f"worker {death.slot} {death.how}; {what}; see {death.log}{tail}")
            self._deaths = self._deaths + 1 if self._mark == self.progress.mark() else 1
            self._mark = self.progress.mark()
            if self._deaths > max(_MAX_CRASHES_IN_A_ROW, 2 * len(self.engine.slots)):
                self._stop("workers keep dying")
                return
            self.engine.restart(death.slot)
        if monotonic() - self._published > self.progress.publish_s / _MOST_OF_THE_TIME:
            self._publish(view, "running")
        if self.spec.timeout is not None and monotonic() - self.progress.begun > self.spec.timeout:
            self._stop("timeout")
        if self.study.is_failing():
            self._stop(f"the last {self.spec.max_failures} trials failed")
        if not self._said_why and (reason := self.study.stopping.reason()) is not None:
            self._said_why = True
            view.say(f"stop: {reason}; no more trials are started, and those that run go on to their end")

    def _publish(self, view: LiveView, state: str) -> None:
        try:
            view.update(self.progress.publish(state), self.progress.results)
        except OSError as error:
            if not is_disk_full(error):
                raise
            if not self._is_full:
                view.say(f"{self.run_dir}: no space left on the device; the sweep waits for space")
            self._is_full = True
        else:
            if self._is_full:
                view.say(f"{self.run_dir}: there is space again; going on")
            self._is_full = False
        self._published = monotonic()

    def _end(self, view: LiveView) -> str:
        if self.stopping is not None:
            self.engine.stop()
            self.study.reclaim()
        if self.stopping is None and self.study.is_failing():  # since the last look; so the workers have ended
            self._stop(f"the last {self.spec.max_failures} trials failed")
        reason = self.study.stopping.reason()
        finished = "finished" if reason is None else f"{STOPPED}{reason}"
        state = self.stopping or (finished if self.study.is_finished() else "unfinished")
        self._publish(view, state)
        if self.stopping is None:  # and the user sees that it has ended, so that the same request is a new one
            self.study.extensions.end()
        return state

    def _stop(self, why: str) -> None:
        self.stopping = why
        self.stop.set()
        self._answer.set()

    def _interrupt(self, *_: object) -> None:
        if self.stopping is not None:  # a second Ctrl-C: whatever it waits for, a database that hangs, say, is left
            raise KeyboardInterrupt
        self._stop("interrupted")

    def _exit_status(self, state: str) -> int:
        if state == "interrupted":
            return 130
        results = self.progress.results
        failed = bool(results) and all(result.state == "FAIL" for result in results)
        return 1 if failed or (state not in ("finished", "timeout") and not state.startswith(STOPPED)) else 0

    @contextmanager
    def _answers(self, view: LiveView) -> Iterator[None]:
        """Says at once why the sweep stops and what it waits for, even while this thread waits for a lock."""

        def answer() -> None:
            self._answer.wait()
            if self.stopping is not None:
                view.say(self._waits_for())

        thread = threading.Thread(target=answer, name="answers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._answer.set()
            thread.join()

    def _waits_for(self) -> str:
        numbers = ", ".join(str(entry["number"]) for entry in self.progress.running)
        trials = f" and their trials {numbers}" if numbers else ""
        waited = f"; waiting up to {GRACE_S:.0f} s for {len(self.engine.workers)} of them{trials}"
        waited = f"{waited}; Ctrl-C again: no longer" if self.engine.workers else ""
        return f"{self.stopping}: stopping the workers{waited}"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        kept = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
