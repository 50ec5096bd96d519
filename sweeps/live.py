"""Shows a running sweep: a live table in a terminal, one line a finished trial elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sweeps.live_table import (
    TrialRow,
    finished_row,
    number_text,
    plain_text,
    seconds_text,
    table_blocks,
    trial_table,
)
from sweeps.report.comparison_tables import print_comparisons
from sweeps.report.sweep_data import read_sweep
from sweeps.results.ranking import RankedConfiguration, ranking
from sweeps.results.status_file import count_text, how_to_go_on
from sweeps.results.trial_result import TrialResult
from sweeps.spec.spec import SweepSpec

_MAX_RANKED = 10


def open_console() -> Console:
    """Returns a console for standard output. Where that is no terminal (a file, a CI log), no line is wrapped early."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    return console


class LiveView:
    """Shows the progress of a sweep on standard output.

    Args:
        spec: The spec.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec
        self.metrics = [objective.metric for objective in spec.objectives]
        self.console = open_console()
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._printed: set[int] = set()
        self._is_first_update = True

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Prints a line that stays above the live table."""
        self.console.print(text, markup=False, soft_wrap=True)

    def update(self, status: Mapping[str, Any], results: Sequence[TrialResult]) -> None:
        """Shows a new status. Without a terminal, prints a line for every trial that finished since the last update."""
        if self._live is not None:
            self._live.update(self._table(status, results), refresh=True)
            return
        new = [result for result in results if result.number not in self._printed]
        self._printed.update(result.number for result in new)
        if self._is_first_update:
            self._is_first_update = False
            return  # these trials finished in an earlier launch
        for result in new:
            self.say(f"{self._line(result)}  [{len(results)}/{status['n_trials']}, {_footer(status)}]")

    def _table(self, status: Mapping[str, Any], results: Sequence[TrialResult]) -> Group:
        ended = sum(status["counts"][name] for name in ("COMPLETE", "PRUNED", "FAIL"))
        title = Text(f"{status['name']}  {ended}/{status['n_trials']}", style="bold")
        size = self.console.size
        table = trial_table(results, status["running"], self.metrics, size.width, size.height - 3)
        return Group(title, table, Text(_footer(status)))

    def _line(self, result: TrialResult) -> str:
        row = finished_row(result, self.metrics)
        number, outcome, epochs, value, seconds = row.cells
        what = row.reason or row.configuration(4)
        return f"trial {number} {outcome} after {epochs or 0} epochs, {seconds or 0} s, {value or 'no value'}: {what}"

    def end(self, status: Mapping[str, Any], results: Sequence[TrialResult], run_dir: Path) -> None:
        """Prints the ranking, the comparison with published values, and the commands to continue with."""
        if status["best"]:
            ranked = ranking(results, self.spec.objectives)
            self.console.print(ranking_table(ranked, self.metrics, self.console.width))
        if status["best"] and (self.spec.published or self.spec.claims):
            print_comparisons(read_sweep(run_dir), self.console)
        self.say(f"{status['state']} after {status['elapsed_s']} s: {count_text(status)}")
        if status["best"]:
            front = ", ".join(str(entry["number"]) for entry in status.get("front") or [])
            best = f"Pareto front: trials {front}; their" if front else f"best: trial {status['best']['number']}; its"
            self.say(f"{best} files and metrics: sweeps best {run_dir}")
            if untested := ranking(results, self.spec.objectives)[0].untested:
                self.say(f"the best is not evaluated on the test set: {untested}")
        if hint := how_to_go_on(status["state"]):
            self.say(hint)


def ranking_table(ranked: Sequence[RankedConfiguration], metrics: Sequence[str], width: int) -> Text:
    """Returns the best configurations as a table; with several objectives the Pareto front.

    Args:
        ranked: All configurations, best first.
        metrics: Names of the objectives.
        width: Columns of the terminal.
    """
    front = [entry for entry in ranked if entry.on_pareto_front]
    more = f", the first {_MAX_RANKED} of {len(front)}" if len(front) > _MAX_RANKED else ""
    title = f"Pareto front of {', '.join(metrics)}{more}" if front else f"best configurations by {metrics[0]}"
    rows = []
    for rank, entry in enumerate((front or ranked)[:_MAX_RANKED], start=1):
        figures = [(entry.mean, entry.std), *(entry.statistics(metric) for metric in metrics[1:])]
        means = [number_text(mean) + (f" ± {std:.2g}" if std is not None else "") for mean, std in figures]
        trial = entry.best_trial
        cells = (rank, trial.number, *means, trial.best_epoch, seconds_text(trial.elapsed_s))
        rows.append(TrialRow(tuple(map(plain_text, cells)), trial.params, entry.run or ""))
    blocks = table_blocks(("rank", "trial", *metrics, "epoch", "seconds"), rows, width)
    return Text("\n").join([Text(title, style="bold"), *chain.from_iterable(blocks)])


def _footer(status: Mapping[str, Any]) -> str:
    best = status["best"]
    parts = [f"best so far {number_text(best['mean'])} (trial {best['number']})" if best else "no result yet"]
    if front := status.get("front"):
        parts = [f"{len(front)} on the Pareto front"]
    parts.append(f"elapsed {status['elapsed_s']:.0f} s")
    if status["left_s"] is not None:
        parts.append(f"about {status['left_s']:.0f} s left")
    return ", ".join(parts)
