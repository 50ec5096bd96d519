"""The words and tables of a report as HTML. Every text that comes from a sweep passes `escape` here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from statistics import fmean, stdev
from typing import Any

from sweeps.report.sweep_data import SweepData, duration, shorten, show, show_mean
from sweeps.results import Row
from sweeps.trial_folder import TrialFolder

Cell = tuple[str, Any]
"""What is shown, and what it is sorted by (`None`: by what is shown)."""


def opening(sweep: SweepData) -> str:
    """Title, state, counts, objective and the rule of the ranking."""
    counts = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in sweep.counts().items())
    goals = ", then ".join(f"{goal.direction} {goal.metric}" for goal in sweep.spec.objectives)
    facts = f"{sweep.state} · {len(sweep.rows)} of {sweep.spec.n_trials} trials have ended"
    return (
        f"<h1>{escape(sweep.spec.name)}</h1>\n"
        f'<p class="facts">{escape(facts)}{escape(f": {counts}" if counts else "")} · {escape(goals)}</p>\n'
        f'<p class="note">{escape(_rule(sweep))}</p>'
    )


def _rule(sweep: SweepData) -> str:
    rule = f"Ranked are completed trials only, by the mean of {sweep.metric} over the seeds of a configuration"
    if len(sweep.spec.objectives) > 1:
        rule += ", after those that no other beats in all objectives"
    return f"{rule}; the value of a trial is that of its best epoch, the one its checkpoint holds."


def best(sweep: SweepData) -> str:
    """The winner: value, params, metrics, files and commands; or that there is none yet."""
    if not sweep.ranked:
        what = "none has ended" if not sweep.rows else "those that ended were pruned, diverged or failed"
        return f"<p><strong>No trial has completed yet</strong>, so nothing is ranked: {what}.</p>"
    entry = sweep.ranked[0]
    over = f"mean over {entry['n']} seeds, trials {_numbers(entry)}; best run: " if entry["n"] > 1 else ""
    name = f"{entry['run']}, " if entry.get("run") else ""
    epochs = f", epoch {entry['best_epoch']}" if "best_epoch" in entry else ""
    of = f" of {entry['epochs']}" if epochs and "epochs" in entry else ""
    where = f"{name}{over}trial {entry['number']}{epochs}{of}"
    return (
        f'<p class="headline">{escape(show_mean(entry))} <small>{escape(sweep.metric)}</small></p>\n'
        f'<p class="facts">{escape(where)}{escape(_among(sweep))}</p>\n'
        f'<div class="columns"><div><h3>Parameters</h3>{_settings(sweep, entry)}</div>'
        f"<div><h3>Metrics</h3>{_metrics(sweep, entry)}</div></div>\n{_files(sweep, entry)}"
    )


def _among(sweep: SweepData) -> str:
    if len(sweep.spec.objectives) == 1:
        return ""
    return f"; first by {sweep.metric} among {len(sweep.front())} that no other beats in all objectives"


def _numbers(entry: Row) -> str:
    return ", ".join(str(number) for number in entry["numbers"])


def _settings(sweep: SweepData, entry: Row) -> str:
    values = {**sweep.spec.runs.get(str(entry.get("run")), {}), **sweep.values(entry)}
    if not values:
        return '<p class="note">None varies: this is the base configuration.</p>'
    lines = (
        f'<tr><th>{escape(name)}</th><td title="{escape(str(value))}">{escape(show(value, 6))}</td></tr>'
        for name, value in values.items()
    )
    return f'<table class="facts-table">{"".join(lines)}</table>'


def _metrics(sweep: SweepData, entry: Row) -> str:
    """Metrics of the best run, the test set's first; with several seeds their mean too."""
    runs = [row for row in sweep.rows if row["number"] in entry["numbers"]]
    names = {key.split(".", 1)[1] for key in entry if key.startswith(("metrics.", "final."))}
    several = entry["n"] > 1
    lines = []
    for name in sorted(names, key=lambda name: (not name.startswith("test/"), name)):
        at_best, at_end = entry.get(f"metrics.{name}"), entry.get(f"final.{name}")
        cells = [_text(at_best), _text(at_end), *([_mean(runs, f"metrics.{name}")] if several else [])]
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(f'<td class=n>{escape(c)}</td>' for c in cells)}</tr>")
    heads = ["best epoch", "last epoch", *(["best epoch, mean over seeds"] if several else [])]
    head = "".join(f'<th class="n">{text}</th>' for text in heads)
    tested = any(name.startswith("test/") for name in names)
    note = "" if tested else '<p class="note">The test set has not been read for it.</p>'
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>{note}'


def _text(value: Any) -> str:
    return "" if value is None else show(value, 5)


def _mean(rows: Sequence[Row], key: str) -> str:
    values = [float(row[key]) for row in rows if key in row]
    if len(values) < 2:
        return ""
    return f"{fmean(values):.5g} ± {stdev(values):.2g}"


def _files(sweep: SweepData, entry: Row) -> str:
    folder = TrialFolder(sweep.run_dir, entry["number"])
    path = folder.checkpoint()
    checkpoint = f"<code>{escape(str(path))}</code>" if path else "none is left in the run folder"
    replay = f"sweeps replay {shlex.quote(str(sweep.run_dir))} --trial {entry['number']}"
    again = f"lit-dl fit --config {shlex.quote(str(folder.config))}"
    return (
        f'<p class="files">Checkpoint: {checkpoint}</p>\n'
        f'<p class="note">Run it again and compare every metric of every epoch:</p><pre>{escape(replay)}</pre>\n'
        f'<p class="note">Train it again, as a run of its own:</p><pre>{escape(again)}</pre>'
    )


def ranked(sweep: SweepData) -> str:
    """All completed configurations, best first; empty without any."""
    if not sweep.ranked:
        return ""
    tests = sorted({key for entry in sweep.ranked for key in entry if key.startswith("metrics.test/")})
    named = any(entry.get("run") for entry in sweep.ranked)
    heads = ["rank", "trials" if sweep.repeats else "trial", *(["configuration"] if named else []), sweep.metric]
    heads += [goal.metric for goal in sweep.spec.objectives[1:]] + ["epoch", *sweep.names.values()]
    heads += [key.removeprefix("metrics.") for key in tests] + ["weights", "time"]
    front = {id(entry) for entry in sweep.front()} if len(sweep.spec.objectives) > 1 else {id(sweep.ranked[0])}
    lines = []
    for rank, entry in enumerate(sweep.ranked, start=1):
        cells: list[Cell] = [(str(rank), rank), (_numbers(entry), entry["number"])]
        cells += [(entry.get("run", ""), None)] if named else []
        cells += [(show_mean(entry), entry["mean"])]
        cells += [_cell(entry.get(f"metrics.{goal.metric}")) for goal in sweep.spec.objectives[1:]]
        cells += [_cell(entry.get("best_epoch")), *_values(sweep, entry)]
        cells += [_tested(sweep, entry, key) for key in tests] + [_cell(entry.get("parameters")), _time(entry)]
        lines.append((cells, id(entry) in front))
    return sortable(heads, lines)


def unranked(sweep: SweepData) -> str:
    """Trials that were pruned, diverged, failed or have not ended, with why; empty without any."""
    rows = [*sorted(sweep.unranked, key=lambda row: int(row["number"])), *sweep.unfinished]
    if not rows:
        return ""
    heads = ["trial", "outcome", f"{sweep.metric} so far", "epochs", "time", "why", "params"]
    lines = []
    for row in rows:
        params = ", ".join(f"{sweep.names[name]} {show(value)}" for name, value in sweep.values(row).items())
        what = ": ".join(text for text in (str(row.get("run") or ""), params) if text)
        cells = [_cell(row["number"]), (row["outcome"].replace("_", " "), None), _cell(row.get("value"))]
        cells += [_cell(row.get("epochs")), _time(row), (str(row.get("reason", "")), None), (what, None)]
        lines.append((cells, False))
    return f"<h3>Not ranked</h3>\n{sortable(heads, lines, words=(5, 6))}"


def _tested(sweep: SweepData, entry: Row, key: str) -> Cell:
    """A test metric as the ranking takes values: the mean over seeds, not that of the luckiest."""
    if entry["n"] == 1:
        return _cell(entry.get(key))
    values = [row[key] for row in sweep.completed if row["number"] in entry["numbers"] and key in row]
    return _cell(fmean(values)) if values else ("", None)


def _values(sweep: SweepData, entry: Row) -> list[Cell]:
    values = sweep.values(entry)
    cells = [_cell(values[name], 3) if name in values else ("-", "") for name in sweep.names]
    return [(shorten(text, 24), key if key is not None else text) for text, key in cells]


def _cell(value: Any, digits: int = 5) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (f"{value:,}" if isinstance(value, int) and value > 9999 else show(value, digits)), value
    return ("", None) if value is None and digits == 5 else (show(value), None)


def _time(row: Row) -> Cell:
    return (duration(float(row["elapsed_s"])), row["elapsed_s"]) if "elapsed_s" in row else ("", None)


def sortable(heads: list[str], lines: list[tuple[list[Cell], bool]], words: tuple[int, ...] = ()) -> str:
    """A table that a click on a column's head sorts.

    Args:
        heads: Of the columns.
        lines: The cells of each row, and whether it stands out.
        words: Columns, from 0, of texts that may wrap.
    """
    columns = list(zip(*(cells for cells, _ in lines), strict=True))
    kinds = ["words" if i in words else "n" if _is_numeric(column) else "" for i, column in enumerate(columns)]
    top = "".join(
        f'<th{_class(kind)}><button type="button">{escape(head)}</button></th>'
        for head, kind in zip(heads, kinds, strict=True)
    )
    body = "\n".join(
        f"<tr{_class('best' if first else '')}>"
        + "".join(_td(text, key, kind) for (text, key), kind in zip(cells, kinds, strict=True))
        + "</tr>"
        for cells, first in lines
    )
    table = f'<table class="sortable"><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>'
    return f'<div class="scroll table" tabindex="0">{table}</div>'


def _is_numeric(column: Sequence[Cell]) -> bool:
    return all(isinstance(key, int | float) or not text or key == "" for text, key in column)


def _td(text: str, key: Any, kind: str) -> str:
    given = "" if key is None or str(key) == text else f' data-v="{escape(str(key))}"'
    return f"<td{_class(kind)}{given}>{escape(text)}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
