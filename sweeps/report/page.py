"""The report: one HTML file that needs no network, from the tables in a run folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Any

from lit_dl.errors import StorageError
from lit_dl.files import write_text
from sweeps.report import comparison_tables, layer_health, parameters, seed_curves, slices, tables, trials
from sweeps.report.plot_style import Panel
from sweeps.report.sweep_data import SweepData, read_sweep

_PACKAGES = ("lit-sweeps", "torch", "lightning", "optuna", "plotly")


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Writes the report of a sweep, whatever state that is in.

    Args:
        run_dir: The run folder.
        output: The file to write. `None`: `report.html` in the run folder.

    Returns:
        The file written.

    Raises:
        StorageError: The folder holds no sweep, or `output` is a folder.
    """
    path = output or run_dir / "report.html"
    if path.is_dir():
        raise StorageError(f"{path}: must be a file to write the report to; it is a folder")
    sweep = read_sweep(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(sweep))
    return path


def page(sweep: SweepData) -> str:
    """The whole report as HTML."""
    from plotly.offline import get_plotlyjs

    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{sweep.spec.name}, sweep report"), body=_body(sweep), plotly=get_plotlyjs()
    )


def _body(sweep: SweepData) -> str:
    sections = {
        "Best configuration": tables.best(sweep),
        **_compared(sweep),
        "Ranking": _ranking(sweep),
        "History": _panel("history", trials.history(sweep)),
        "Learning curves": _panel("curves", trials.curves(sweep)),
        **_by_configuration(sweep),
        **_layer_health(sweep),
        **_about_parameters(sweep),
        "Time": _panel("time", trials.time_spent(sweep)),
    }
    links = "\n".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    parts = (
        f'<section id="{_anchor(title)}">\n<h2>{title}</h2>\n{text}\n</section>' for title, text in sections.items()
    )
    return f"<header>{tables.opening(sweep)}\n<nav>{links}</nav></header>\n" + "\n".join(parts) + _footer(sweep)


def _compared(sweep: SweepData) -> dict[str, str]:
    """What others found and claim, where the spec says so."""
    texts = {"Published figures": comparison_tables.figures_html(sweep), "Claims": comparison_tables.claims_html(sweep)}
    return {title: text for title, text in texts.items() if text}


def _by_configuration(sweep: SweepData) -> dict[str, str]:
    panel = seed_curves.mean_curves(sweep)
    return {"Learning curves by configuration": _panel("mean-curves", panel)} if panel else {}


def _layer_health(sweep: SweepData) -> dict[str, str]:
    panels = layer_health.layer_health(sweep)
    if not panels:
        return {}
    first = f"<h3>{escape(panels[0].title)}</h3>{_panel('health', panels[0])}"
    return {"Layer health": f"{first}\n{_grid('health', panels[1:], 420)}"}


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _ranking(sweep: SweepData) -> str:
    parts = [tables.ranked(sweep)]
    for name, panel in (
        ("configurations", trials.configurations(sweep)),
        ("objectives", trials.objectives(sweep)),
    ):
        parts.append(_panel(name, panel) if panel else "")
    parts.append(tables.unranked(sweep))
    return "\n".join(part for part in parts if part) or '<p class="note">No trial has begun.</p>'


def _about_parameters(sweep: SweepData) -> dict[str, str]:
    if not len(sweep.spec.space):
        return {"Parameters": '<p class="note">This sweep has no search space: it compares configurations by name.</p>'}
    return {
        "Importances": _panel("importances", parameters.importances(sweep)),
        "Parallel coordinates": _panel("parallel", parameters.parallel(sweep)),
        "Each parameter": _slices(sweep),
    }


def _slices(sweep: SweepData) -> str:
    panels = slices.slices(sweep)
    if not panels:
        return '<p class="note">Not drawn: no trial has completed yet.</p>'
    note = "Completed configurations against their value; the star is the best."
    if sweep.unranked:
        note += " In the strip below: trials that are not ranked."
    if max(len(sweep.ranked), len(sweep.unranked)) > slices.MOST_IN_A_PANEL:
        note += f" Of more than {slices.MOST_IN_A_PANEL}, an even selection is drawn."
    return f'<p class="note">{note}</p>\n{_grid("slice", panels)}'


def _grid(name: str, panels: Sequence[Panel], least: int = 300) -> str:
    """Panels beside each other, each at least so many pixels wide."""
    cells = "".join(
        f"<div><h3>{escape(panel.title)}</h3>{_panel(f'{name}-{number}', panel)}</div>"
        for number, panel in enumerate(panels)
    )
    columns = f"grid-template-columns: repeat(auto-fill, minmax(min({least}px, 100%), 1fr))"
    return f'<div class="grid" style="{columns}">{cells}</div>'


def _panel(name: str, panel: Panel) -> str:
    words = f'<p class="note">{escape(panel.note)}</p>' if panel.note else ""
    if panel.figure is None:
        return words
    width = f"min-width: {panel.min_width}px; " if panel.min_width else ""
    place = f'<div class="plot" id="{name}" style="{width}height: {panel.height}px"></div>'
    data = f'<script type="application/json" id="{name}-data">{_json(panel.figure)}</script>'
    return f'<div class="scroll">{place}</div>\n{data}\n{words}'


def _json(figure: Any) -> str:
    """A figure for a script element, which a `<` could end."""
    content = figure.to_plotly_json()
    content["layout"].pop("template", None)  # Plotly's default look, seven kilobytes a figure
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _footer(sweep: SweepData) -> str:
    versions = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return (
        f"\n<footer>Written {escape(now)} by <code>sweeps report {escape(str(sweep.run_dir))}</code> with "
        f"{escape(', '.join(versions))}.</footer>"
    )
