"""Published figures beside ours and judged claims as tables: for a terminal, a file, and the HTML page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from html import escape

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.report.comparison import (
    CLAIM_RULE,
    CONTRADICTED,
    FIGURE_RULE,
    NO_RESULT,
    NOT_REPRODUCED,
    REPRODUCED,
    SUPPORTED,
    UNDECIDED,
    Figure,
    Judged,
    figures,
    judged,
    tally,
)
from sweeps.report.statistics import Interval
from sweeps.report.sweep_data import SweepData, short_names, show
from sweeps.report.tables import Cell, sortable
from sweeps.spec.published import PublishedTable
from sweeps.spec.space import Values

_MARKS = {
    REPRODUCED: ("✓", "green"),
    SUPPORTED: ("✓", "green"),
    NOT_REPRODUCED: ("✗", "red"),
    CONTRADICTED: ("✗", "red"),
    UNDECIDED: ("?", "yellow"),
    NO_RESULT: ("-", "dim"),
}
_MOST_PLACES = 6


@dataclass(frozen=True)
class Compared:
    """A table with what must be said around it.

    Args:
        title: Above it.
        source: Between title and table.
        heads: Of its columns; the last column is the verdict.
        lines: Its rows.
        words: Columns, from 0, of texts that may wrap.
        numbers: Columns, from 0, of numbers.
        summary: Below it.
    """

    title: str
    source: str
    heads: list[str]
    lines: list[list[Cell]]
    words: tuple[int, ...]
    numbers: tuple[int, ...]
    summary: str


def print_compared(sweep: SweepData, console: Console) -> None:
    """Prints the published figures and the claims of a sweep beside what its runs gave; nothing when it has none.

    Args:
        sweep: The sweep.
        console: Where; one that is no terminal gets aligned text without lines or colours.
    """
    for tables, rule in ((figure_tables(sweep), FIGURE_RULE), (claim_tables(sweep), CLAIM_RULE)):
        for table in tables:
            console.print(Text(table.title, style="bold"))
            if table.source:
                console.print(Text(table.source, style="dim"))
            console.print(_rich(table, boxed=console.is_terminal))
            console.print(Text(table.summary + "\n"))
        if tables:
            console.print(Text(rule + "\n", style="dim"))


def _rich(table: Compared, boxed: bool) -> Table:
    drawn = Table(pad_edge=boxed) if boxed else Table(box=None, pad_edge=False)
    for number, head in enumerate(table.heads):
        justify, wraps = ("right" if number in table.numbers else "left"), number in table.words
        drawn.add_column(Text(head), justify=justify, no_wrap=not wraps)  # type: ignore[arg-type]
    for cells in table.lines:
        style = _MARKS[str(cells[-1][1])][1]
        drawn.add_row(*(Text(text) for text, _ in cells[:-1]), Text(cells[-1][0], style=style))
    return drawn


def figures_html(sweep: SweepData) -> str:
    """Published figures beside ours, as a section of the page; empty without any."""
    return _html([_with_settings(sweep, table) for table in figure_tables(sweep)], FIGURE_RULE, titled=True)


def _with_settings(sweep: SweepData, table: Compared) -> Compared:
    """The table with what each run sets beside its name, for a page, which is wide enough."""
    lines = [[run, (settings(sweep.spec.runs[run[0]]), None), *rest] for run, *rest in table.lines]
    numbers = tuple(number + 1 for number in table.numbers)
    heads = [table.heads[0], "what it sets", *table.heads[1:]]
    return replace(table, heads=heads, lines=lines, words=(1,), numbers=numbers)


def settings(values: Values) -> str:
    """What a run of the spec sets, such as `norm before, optimizer.name adam`."""
    names = short_names(values)
    return ", ".join(f"{names[key]} {show(value)}" for key, value in values.items()) or "as the base"


def claims_html(sweep: SweepData) -> str:
    """Judged claims as a section of the page; empty without any."""
    return _html(claim_tables(sweep), CLAIM_RULE, titled=False)


def _html(tables: list[Compared], rule: str, titled: bool) -> str:
    parts = []
    for table in tables:
        parts += [f"<h3>{escape(table.title)}</h3>"] if titled else []
        parts += [f'<p class="note">{escape(table.source)}</p>'] if table.source else []
        parts.append(sortable(table.heads, [(cells, False) for cells in table.lines], words=table.words))
        parts.append(f'<p class="facts">{escape(table.summary)}</p>')
    return "\n".join([*parts, f'<p class="note">{escape(rule)}</p>']) if parts else ""


def figure_tables(sweep: SweepData) -> list[Compared]:
    """Each published table of the spec beside our figures."""
    return [_figure_table(sweep, table) for table in sweep.spec.published]


def _figure_table(sweep: SweepData, table: PublishedTable) -> Compared:
    rows = figures(sweep, table)
    heads = ["run", "seeds", "published", "ours", "difference", "verdict"]
    places = _places(table.tolerance)
    title = ": ".join(text for text in (table.title, str(table.quantity)) if text)
    summary = f"{tally([row.verdict for row in rows])}; tolerance {show(table.tolerance, 6)}."
    lines = [_figure_line(row, places) for row in rows]
    return Compared(title, table.source, heads, lines, (), (2, 3, 4), summary)


def _figure_line(row: Figure, places: int) -> list[Cell]:
    seeds = f"{row.n} ({row.missing})" if row.missing else str(row.n)
    mean = None if row.ours is None else row.ours.mean
    return [
        (row.run, None),
        (seeds, row.n),
        (f"{row.published:.{places}f}", row.published),
        (_estimate(row.ours, places), mean),
        ("" if row.difference is None else f"{row.difference:+.{places}f}", row.difference),
        _verdict(row.verdict),
    ]


def claim_tables(sweep: SweepData) -> list[Compared]:
    """The claims of the spec, with what our runs say of them: one table, or none."""
    rows = judged(sweep)
    heads = ["claim", "figure", "ours", "difference", "verdict"]
    lines = [_claim_line(row) for row in rows]
    return [Compared("Claims", "", heads, lines, (0, 2), (3,), f"{tally([r.verdict for r in rows])}.")] if rows else []


def _claim_line(row: Judged) -> list[Cell]:
    claim, difference = row.claim, row.difference
    scale = claim.within or (difference.half if difference else None) or abs(difference.mean if difference else 0.0)
    places = _places(scale)
    relation = "≈" if claim.within is not None else ">" if claim.direction == "maximize" else "<"
    sides = (", ".join(_named(row, run, places) for run in side) for side in (claim.first, claim.second))
    margin = f" within {show(claim.within, 6)}" if claim.within is not None else ""
    return [
        (claim.text, None),
        (str(claim.quantity), None),
        (f" {relation} ".join(sides) + margin, None),
        (_estimate(difference, places, "+"), None if difference is None else difference.mean),
        _verdict(row.verdict),
    ]


def _named(row: Judged, run: str, places: int) -> str:
    mean = row.means[run]
    return f"{run} {'no result' if mean is None else f'{mean:.{places}f}'}"


def _estimate(found: Interval | None, places: int, sign: str = "") -> str:
    if found is None:
        return ""
    return f"{found.mean:{sign}.{places}f}" + (f" ± {found.half:.{places}f}" if found.half is not None else "")


def _verdict(verdict: str) -> Cell:
    return f"{_MARKS[verdict][0]} {verdict}", verdict


def _places(scale: float) -> int:
    """Decimal places that show a difference of this size to two digits."""
    if scale <= 0:
        return 4
    return min(max(1 - math.floor(math.log10(scale)), 0), _MOST_PLACES)
