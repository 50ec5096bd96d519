"""Renders the templates of the report with jinja2. Every value is escaped, unless it is HTML from another template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sweeps.report.plot_style import Panel


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sweeps.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plotly_json"] = _plotly_json
    environment.filters["json"] = _json
    return environment


def render(template: str, **values: Any) -> Markup:
    """Returns a template of the folder `templates` as HTML."""
    return Markup(_environment().get_template(template).render(**values).strip())


def render_panel(name: str, panel: Panel) -> Markup:
    """Returns one panel as HTML; `name` is unique in the page."""
    return render("panel.html", name=name, panel=panel)


def render_panels(
    name: str, panels: Sequence[Panel], *, first: Panel | None = None, note: str = "", min_width: int = 300
) -> Markup:
    """Returns several panels beside each other as HTML.

    Args:
        name: Unique in the page.
        panels: The panels.
        first: A panel above them, as wide as the page.
        note: Plain text above them.
        min_width: Minimum width of each in CSS pixels.
    """
    return render("panels.html", name=name, panels=panels, first=first, note=note, min_width=min_width)


def _plotly_json(figure: go.Figure) -> Markup:
    """Returns a figure as JSON for a script element."""
    content = figure.to_plotly_json()
    content["layout"].pop("template", None)  # the default style of Plotly, seven kilobytes a figure
    return _json(content)


def _json(content: Any) -> Markup:
    """Returns JSON for a script element. `<` is replaced, because `</script>` would end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))


def asset(name: str) -> Markup:
    """Returns a style sheet or a script of the folder `assets`."""
    return Markup(files("sweeps.report").joinpath("assets", name).read_text(encoding="utf-8"))
