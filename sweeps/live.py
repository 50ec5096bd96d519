"""What a sweep shows while it runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeps.report.comparison_tables import print_compared
from sweeps.report.sweep_data import read_sweep
from sweeps.results import Row, counted, ranking
from sweeps.spec.spec import SweepSpec

_MOST_ROWS = 12
_STYLES = {"completed": "green", "pruned": "yellow", "failed": "red", "diverged": "magenta", "out_of_memory": "magenta"}


def open_console() -> Console:
    """Standard output: a terminal, or a file or a CI log, which wraps nothing."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    return console


class LiveView:
    """Shows a sweep's progress.

    Args:
        spec: The spec.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec
        self.metric = spec.objectives[0].metric
        self.console = open_console()
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._told: set[int] = set()
        self._first = True

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
        """A line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def update(self, status: dict[str, Any], rows: list[Row]) -> None:
        """Shows a new state; without a terminal, a line for every trial that ended."""
        if self._live is not None:
            self._live.update(Group(self._table(status, rows), Text(_foot(status))), refresh=True)
            return
        new = [row for row in rows if row["number"] not in self._told]
        self._told.update(row["number"] for row in new)
        if self._first:
            self._first = False
            new = []  # what an earlier launch did
        for row in new:
            self.say(f"{_line(row)}  [{len(rows)}/{status['n_trials']}, {_foot(status)}]")

    def _table(self, status: dict[str, Any], rows: list[Row]) -> Table:
        done = sum(status["counts"][name] for name in ("COMPLETE", "PRUNED", "FAIL"))
        table = Table(title=f"{status['name']}  {done}/{status['n_trials']}", title_justify="left", expand=False)
        for name, justify in (("trial", "right"), ("state", "left"), ("epoch", "right"), (self.metric, "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        table.add_column("seconds", justify="right")
        table.add_column("what", no_wrap=True, overflow="ellipsis")
        shown = max(0, _MOST_ROWS - len(status["running"]))
        for row in rows[-shown:] if shown else []:
            style = _STYLES.get(row["outcome"], "")
            table.add_row(*_cells(row), style=style)
        for row in status["running"]:
            cells = (row["number"], "running", row["epoch"] or "", _number(row["value"]), row["elapsed_s"])
            table.add_row(*map(_text, cells), _params(row["params"].items()), style="bold")
        return table

    def end(self, status: dict[str, Any], rows: list[Row], run_dir: Path) -> None:
        """The result, and what to do with it."""
        if status["best"]:
            self.console.print(ranking_table(rows, self.spec))
        if status["best"] and (self.spec.published or self.spec.claims):
            print_compared(read_sweep(run_dir), self.console)
        self.say(f"{status['state']} after {status['elapsed_s']} s: {counted(status)}")
        if status["best"]:
            number = status["best"]["number"]
            self.say(f"best: trial {number}; its files and metrics: sweeps best {run_dir}")
            self.say(f"plots of all trials: sweeps report {run_dir}")
        if status["state"] != "finished":
            self.say("the same command goes on from here")


def _cells(row: Row) -> list[str]:
    params = [(key.removeprefix("params."), value) for key, value in row.items() if key.startswith("params.")]
    what = row["reason"] if row["state"] == "FAIL" else " ".join(filter(None, (row.get("run"), _params(params))))
    return [*map(_text, (row["number"], row["outcome"], row["epochs"], _number(row["value"]), row["elapsed_s"])), what]


def _line(row: Row) -> str:
    number, outcome, epochs, value, seconds, what = _cells(row)
    return f"trial {number} {outcome} after {epochs or 0} epochs, {seconds} s, {value or 'no value'}: {what}"


def _params(items: Any) -> str:
    return " ".join(f"{key.split('.')[-1]}={_number(value)}" for key, value in items if value is not None)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _foot(status: dict[str, Any]) -> str:
    best = status["best"]
    parts = [f"best so far {_number(best['mean'])} (trial {best['number']})" if best else "no result yet"]
    parts.append(f"elapsed {status['elapsed_s']:.0f} s")
    if status["left_s"] is not None:
        parts.append(f"about {status['left_s']:.0f} s left")
    return ", ".join(parts)


def ranking_table(rows: list[Row], spec: SweepSpec, most: int = 10) -> Table:
    """The best configurations as a table."""
    metric = spec.objectives[0].metric
    table = Table(title=f"best configurations by {metric}", title_justify="left")
    for name in ("rank", "trial", metric, "epoch", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("configuration")
    for rank, row in enumerate(ranking(rows, spec.objectives)[:most], start=1):
        spread = f" ± {row['deviation']:.2g}" if row["deviation"] is not None else ""
        params = [(key.removeprefix("params."), value) for key, value in row.items() if key.startswith("params.")]
        name = f"{row['run']} " if row.get("run") else ""
        cells = (rank, row["number"], _number(row["mean"]) + spread, row.get("best_epoch"), row.get("elapsed_s"))
        table.add_row(*map(_text, cells), name + _params(params))
    return table
