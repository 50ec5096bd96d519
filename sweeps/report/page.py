"""The report: one HTML file that needs no network, made from the files in a run folder."""

from __future__ import annotations

import platform
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from markupsafe import Markup

from lit_dl.errors import StorageError
from lit_dl.files import write_text
from sweeps.report import (
    all_trials,
    best_configuration,
    comparison_tables,
    early_stopping_ledger,
    health_checks,
    history,
    importances,
    layer_health,
    learning_curves,
    outcomes,
    parallel_coordinates,
    pareto_front,
    ranking_section,
    seed_curves,
    slices,
    time_spent,
)
from sweeps.report.plot_style import OUTCOMES
from sweeps.report.sweep_data import SweepData, read_sweep
from sweeps.report.templating import asset, render
from sweeps.report.trial_records import trial_records

_PACKAGES = ("lit-sweeps", "torch", "lightning", "optuna", "plotly")
_SCRIPTS = ("plots.js", "trials.js", "data_table.js", "learning_curves.js", "page.js")


def _no_parameters(sweep: SweepData) -> Markup:
    text = '<p class="note">This sweep has no search space: it compares configurations by name.</p>'
    return Markup("" if len(sweep.spec.space) else text)


SECTIONS: list[tuple[str, Callable[[SweepData], Markup]]] = [
    ("Best configuration", best_configuration.section),
    ("Pareto front", pareto_front.section),
    ("Health checks", health_checks.section),
    ("Published figures", comparison_tables.values_section),
    ("Claims", comparison_tables.claims_section),
    ("Ranking", ranking_section.section),
    ("All trials", all_trials.section),
    ("History", history.section),
    ("Learning curves", learning_curves.section),
    ("Learning curves by configuration", seed_curves.section),
    ("Layer health", layer_health.section),
    ("Parameters", _no_parameters),
    ("Importances", importances.section),
    ("Parallel coordinates", parallel_coordinates.section),
    ("Each parameter", slices.section),
    ("Outcomes", outcomes.section),
    ("Early stopping", early_stopping_ledger.section),
    ("Time", time_spent.section),
]
"""Title and function of each section, in the order of the page. A function returns HTML; empty: no such section."""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        title: Its title.
        html: Its content.
    """

    title: str
    html: Markup

    @property
    def anchor(self) -> str:
        """Its id in the page."""
        return self.title.lower().replace(" ", "-")


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Writes the report of a sweep, in whatever state that is.

    Args:
        run_dir: The run folder.
        output: The file to write; `None`: `report.html` in the run folder.

    Returns:
        The written file.

    Raises:
        StorageError: The folder is not the run folder of a sweep, or `output` is a folder.
    """
    path = output or run_dir / "report.html"
    if path.is_dir():
        raise StorageError(f"{path}: must be a file to write the report to; it is a folder")
    sweep = read_sweep(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(sweep))
    return path


def page(sweep: SweepData) -> str:
    """Returns the whole report as HTML."""
    from plotly.offline import get_plotlyjs

    rendered = [Section(title, section(sweep)) for title, section in SECTIONS]
    scripts = [*map(asset, _SCRIPTS), Markup(get_plotlyjs())]  # tables are there before plotly.js is compiled
    return render(
        "page.html",
        title=f"{sweep.spec.name}, sweep report",
        header=best_configuration.header(sweep),
        sections=[section for section in rendered if section.html],
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        run_dir=str(sweep.run_dir),
        versions=_versions(),
        style=asset("page.css"),
        scripts=scripts,
        hashes=" ".join(f"'{_hash(script)}'" for script in scripts),
        is_running=sweep.state == "running",
        records=trial_records(sweep),
        outcome_styles={name.replace("_", " "): style for name, style in OUTCOMES.items()},
    )


def _hash(script: str) -> str:
    """Returns the hash of a script, by which a browser knows that it may run."""
    return "sha256-" + b64encode(sha256(script.encode()).digest()).decode()


def _versions() -> str:
    versions = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(versions)
