"""Shows a running sweep: a live table in a terminal and in a notebook, one line a finished trial elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
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
from sweeps.results.ranking import RankedConfiguration, none_feasible, ranking
from sweeps.results.status_file import count_text, how_to_go_on
from sweeps.results.trial_result import TrialResult
from sweeps.spec.spec import SweepSpec

_MAX_RANKED = 10
_NOTEBOOK_WIDTH, _NOTEBOOK_HEIGHT = 110, 30  # columns and lines that a cell shows without scrolling


def open_console() -> Console:
    """Returns a console for standard output. Where that is no terminal (a file, a CI log), no line is wrapped early."""
    if in_notebook():
        return Console(highlight=False, force_jupyter=False, width=_NOTEBOOK_WIDTH)  # as text, not as blocks of HTML
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    return console


def in_notebook() -> bool:
    """Whether standard output is that of a notebook's cell."""
    return Console().is_jupyter


class NotebookLive:
    """A table in the output of a notebook's cell that is replaced in its place; used like `rich.live.Live`."""

    def __init__(self) -> None:
        self._console = Console(force_jupyter=False, color_system=None, width=_NOTEBOOK_WIDTH, height=_NOTEBOOK_HEIGHT)
        self.size = self._console.size
        self._display: Any = None

    def start(self) -> None:
        """Makes the place."""
        from IPython.display import display

        self._display = display({"text/plain": ""}, raw=True, display_id=True)

    def update(self, renderable: RenderableType, *, refresh: bool = False) -> None:  # noqa: ARG002 - as Live has it
        """Shows this in place of what was shown before."""
        with self._console.capture() as capture:
            self._console.print(renderable)
        self._display.update({"text/plain": capture.get()}, raw=True)

    def stop(self) -> None:
        """Does nothing: what was shown last stays."""


def _open_live(console: Console) -> Live | NotebookLive | None:
    if in_notebook():
        return NotebookLive()
    return Live(console=console, auto_refresh=False) if console.is_terminal else None


class LiveView:
    """Shows the progress of a sweep on standard output.

    Args:
        spec: The spec.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec
        self.metrics = [objective.metric for objective in spec.objectives]
        self.console = open_console()
        self._live = _open_live(self.console)
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
            self.say(f"{self._line(result)}  [{len(results)}/{_total(status)}, {_footer(status)}]")

    def _table(self, status: Mapping[str, Any], results: Sequence[TrialResult]) -> Group:
        ended = sum(status["counts"][name] for name in ("COMPLETE", "PRUNED", "FAIL"))
        title = Text(f"{status['name']}  {ended}/{_total(status)}", style="bold")
        size = self._live.size if isinstance(self._live, NotebookLive) else self.console.size
        table = trial_table(results, status["running"], self.metrics, size.width, size.height - 3)
        return Group(title, table, Text(_footer(status)))

    def _line(self, result: TrialResult) -> str:
        row = finished_row(result, self.metrics)
        number, outcome, epochs, value, seconds = row.cells
        what = "; ".join(filter(None, (row.reason, row.configuration(4) if result.state != "FAIL" else "")))
        return f"trial {number} {outcome} after {epochs or 0} epochs, {seconds or 0} s, {value or 'no value'}: {what}"

    def end(self, status: Mapping[str, Any], results: Sequence[TrialResult], run_dir: Path) -> None:
        """Prints the ranking, the comparison with published values, and the commands to continue with."""
        ranked = ranking(results, self.spec.objectives)
        if ranked:
            self.console.print(ranking_table(ranked, self.metrics, self.console.width))
        if status["best"] and (self.spec.published or self.spec.claims):
            print_comparisons(read_sweep(run_dir), self.console)
        self.say(f"{status['state']} after {status['elapsed_s']} s: {count_text(status)}")
        if status["best"]:
            front = ", ".join(str(entry["number"]) for entry in status.get("front") or [])
            best = f"Pareto front: trials {front}; their" if front else f"best: trial {status['best']['number']}; its"
            self.say(f"{best} files and metrics: sweeps best {run_dir}")
            if untested := ranked[0].untested:
                self.say(f"the best is not evaluated on the test set: {untested}")
        elif ranked:
            self.say(none_feasible(ranked))
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
        violated = f"(infeasible: {entry.infeasible})" if entry.infeasible else ""
        name = " ".join(filter(None, (violated, entry.run)))
        rows.append(TrialRow(tuple(map(plain_text, cells)), trial.params, name))
    blocks = table_blocks(("rank", "trial", *metrics, "epoch", "seconds"), rows, width)
    return Text("\n").join([Text(title, style="bold"), *chain.from_iterable(blocks)])


def _total(status: Mapping[str, Any]) -> int:
    return int(status["n_trials"] + status.get("n_extensions", 0))


def _footer(status: Mapping[str, Any]) -> str:
    best = status["best"]
    none_yet = "none feasible yet" if status.get("none_feasible") else "no result yet"
    parts = [f"best so far {number_text(best['mean'])} (trial {best['number']})" if best else none_yet]
    if front := status.get("front"):
        parts = [f"{len(front)} on the Pareto front"]
    parts.append(f"elapsed {status['elapsed_s']:.0f} s")
    if status["left_s"] is not None:
        parts.append(f"about {status['left_s']:.0f} s left")
    return ", ".join(parts)
