"""Tables of the comparison with published values and claims, for a terminal, a file, and the HTML page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from markupsafe import Markup
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sweeps.report.comparison import (
    CLAIM_RULE,
    CONTRADICTED,
    NO_RESULT,
    NOT_REPRODUCED,
    REPRODUCED,
    SUPPORTED,
    UNDECIDED,
    VALUE_RULE,
    ClaimComparison,
    ValueComparison,
    compare_claims,
    compare_values,
    summarize,
)
from sweeps.report.formatting import format_value, short_names
from sweeps.report.statistics import Interval
from sweeps.report.sweep_data import SweepData
from sweeps.report.tables import Cell, Row, Table
from sweeps.report.templating import render
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
_MAX_PLACES = 6


@dataclass(frozen=True)
class ComparisonTable:
    """A table with the texts around it. The last column is the conclusion.

    Args:
        title: Text above the table.
        source: Source of the published values, between title and table.
        table: The table.
        right_aligned: Indices of the columns that a terminal aligns to the right.
        summary: Text below the table.
    """

    title: str
    source: str
    table: Table
    right_aligned: tuple[int, ...]
    summary: str


def print_comparisons(sweep: SweepData, console: Console) -> None:
    """Prints the published values and claims of a spec beside our results; nothing where the spec has none.

    Args:
        sweep: The sweep.
        console: The console. Where it is no terminal, columns are aligned, without lines and colors.
    """
    for tables, rule in ((value_tables(sweep), VALUE_RULE), (claim_tables(sweep), CLAIM_RULE)):
        for table in tables:
            console.print(Text(table.title, style="bold"))
            if table.source:
                console.print(Text(table.source, style="dim"))
            console.print(_rich_table(table, is_boxed=console.is_terminal))
            console.print(Text(table.summary + "\n"))
        if tables:
            console.print(Text(rule + "\n", style="dim"))


def _rich_table(comparison: ComparisonTable, is_boxed: bool) -> RichTable:
    table = RichTable(pad_edge=is_boxed) if is_boxed else RichTable(box=None, pad_edge=False)
    for index, head in enumerate(comparison.table.heads):
        justify = "right" if index in comparison.right_aligned else "left"
        table.add_column(Text(head), justify=justify, no_wrap=index not in comparison.table.wrapped)  # type: ignore[arg-type]
    for row in comparison.table.rows:
        *cells, conclusion = row.cells
        style = _MARKS[str(conclusion.sort_key)][1]
        table.add_row(*(Text(cell.text) for cell in cells), Text(conclusion.text, style=style))
    return table


def values_section(sweep: SweepData) -> Markup:
    """Returns the published values beside ours as HTML; empty without any."""
    return _section([_with_settings(sweep, table) for table in value_tables(sweep)], VALUE_RULE)


def claims_section(sweep: SweepData) -> Markup:
    """Returns the claims beside our results as HTML; empty without any."""
    return _section([replace(table, title="") for table in claim_tables(sweep)], CLAIM_RULE)


def _section(tables: list[ComparisonTable], rule: str) -> Markup:
    return render("comparison.html", tables=tables, rule=rule) if tables else Markup("")


def _with_settings(sweep: SweepData, comparison: ComparisonTable) -> ComparisonTable:
    """Returns the table with a column of what each run sets. A page is wide enough for it, a terminal is not."""
    first, *rest = comparison.table.heads
    rows = []
    for row in comparison.table.rows:
        run, *others = row.cells
        rows.append(Row([run, Cell(settings(sweep.spec.runs[run.text])), *others]))
    return replace(comparison, table=Table([first, "what it sets", *rest], rows, wrapped=(1,)))


def settings(values: Values) -> str:
    """Returns what a run of the spec sets, such as `norm before, optimizer.name adam`."""
    names = short_names(values)
    return ", ".join(f"{names[key]} {format_value(value)}" for key, value in values.items()) or "as the base"


def value_tables(sweep: SweepData) -> list[ComparisonTable]:
    """Returns each published table of the spec beside our values."""
    return [_value_table(sweep, table) for table in sweep.spec.published]


def _value_table(sweep: SweepData, published: PublishedTable) -> ComparisonTable:
    comparisons = compare_values(sweep, published)
    places = _decimal_places(published.tolerance)
    heads = ["run", "seeds", "published", "ours", "difference", "verdict"]
    title = ": ".join(text for text in (published.title, str(published.quantity)) if text)
    conclusions = summarize([comparison.conclusion for comparison in comparisons])
    summary = f"{conclusions}; tolerance {format_value(published.tolerance, 6)}."
    table = Table(heads, [_value_row(comparison, places) for comparison in comparisons])
    return ComparisonTable(title, published.source, table, (2, 3, 4), summary)


def _value_row(comparison: ValueComparison, places: int) -> Row:
    seeds = f"{comparison.n} ({comparison.missing})" if comparison.missing else str(comparison.n)
    difference = comparison.difference
    return Row(
        [
            Cell(comparison.run),
            Cell(seeds, comparison.n),
            Cell(f"{comparison.published:.{places}f}", comparison.published),
            _interval_cell(comparison.ours, places),
            Cell("" if difference is None else f"{difference:+.{places}f}", difference),
            _conclusion_cell(comparison.conclusion),
        ]
    )


def claim_tables(sweep: SweepData) -> list[ComparisonTable]:
    """Returns the claims of the spec beside our results as one table; none without claims."""
    comparisons = compare_claims(sweep)
    if not comparisons:
        return []
    heads = ["claim", "figure", "ours", "difference", "verdict"]
    table = Table(heads, [_claim_row(comparison) for comparison in comparisons], wrapped=(0, 2))
    summary = f"{summarize([comparison.conclusion for comparison in comparisons])}."
    return [ComparisonTable("Claims", "", table, (3,), summary)]


def _claim_row(comparison: ClaimComparison) -> Row:
    claim, difference = comparison.claim, comparison.difference
    scale = claim.within
    if difference is not None:
        scale = scale or difference.half_width or abs(difference.mean)
    places = _decimal_places(scale or 0.0)
    relation = "≈" if claim.within is not None else ">" if claim.direction == "maximize" else "<"
    sides = (", ".join(_named_mean(comparison, run, places) for run in side) for side in (claim.first, claim.second))
    margin = f" within {format_value(claim.within, 6)}" if claim.within is not None else ""
    return Row(
        [
            Cell(claim.text),
            Cell(str(claim.quantity)),
            Cell(f" {relation} ".join(sides) + margin),
            _interval_cell(difference, places, "+"),
            _conclusion_cell(comparison.conclusion),
        ]
    )


def _named_mean(comparison: ClaimComparison, run: str, places: int) -> str:
    mean = comparison.means[run]
    return f"{run} {'no result' if mean is None else f'{mean:.{places}f}'}"


def _interval_cell(interval: Interval | None, places: int, sign: str = "") -> Cell:
    if interval is None:
        return Cell("")
    text = f"{interval.mean:{sign}.{places}f}"
    if interval.half_width is not None:
        text += f" ± {interval.half_width:.{places}f}"
    return Cell(text, interval.mean)


def _conclusion_cell(conclusion: str) -> Cell:
    return Cell(f"{_MARKS[conclusion][0]} {conclusion}", conclusion)


def _decimal_places(scale: float) -> int:
    """Returns the decimal places that show a difference of this size to two digits."""
    if scale <= 0:
        return 4
    return min(max(1 - math.floor(math.log10(scale)), 0), _MAX_PLACES)
