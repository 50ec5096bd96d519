"""Run folders as sweeps leave them, made by hand for tests of reports; and a report as a browser reads it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from plotly.offline import get_plotlyjs

from sweeps.report.page import write_report
from sweeps.results.files import write_results
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import TrialFolder

ACCURACY = {"metric": "val/acc", "direction": "maximize"}
SPACE: dict[str, Any] = {
    "model.depth": {"low": 1, "high": 3, "type": "int"},
    "model.sizes": {"choices": [[300, 100], [64], None]},
    "model.optimizer.name": {"choices": ["momentum", "adam"]},
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "type": "float"},
    "model.optimizer.momentum": {
        "low": 0.5,
        "high": 0.99,
        "type": "float",
        "when": {"model.optimizer.name": ["momentum"]},
    },
}
STATES = {"completed": "COMPLETE", "failed": "FAIL"}


def params_of(number: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model.depth": 1 + number % 3,
        "model.sizes": ["[300, 100]", "[64]", None][number % 3],
        "model.optimizer.name": ["momentum", "adam"][number % 2],
        "model.optimizer.lr": 10 ** (-4 + 3 * (number % 7) / 7),
    }
    return values if number % 2 else {**values, "model.optimizer.momentum": 0.5 + 0.4 * (number % 5) / 5}


def result(
    number: int,
    outcome: str = "completed",
    value: float | None = None,
    best: dict[str, float] | None = None,
    **fields: Any,
) -> TrialResult:
    """A finished trial, with `val/acc` and `best` as the metrics of its best epoch."""
    given: dict[str, Any] = {"reason": "max_epochs", "best_epoch": 2, "epochs": 3, "seed": 0, "elapsed_s": 2.0}
    given |= {"attempt": 1, "finished": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}", "parameters": 100}
    given |= {"config_id": str(number), "seconds": {"train": 1.5, "data": 0.25, "total": 2.0}}
    metrics = {**({} if value is None else {"val/acc": value}), **(best or {})}
    state = STATES.get(outcome, "PRUNED")
    return TrialResult(number, state, outcome, value=value, best=metrics, **{**given, **fields})


def with_params(number: int, *args: Any, **fields: Any) -> TrialResult:
    """A finished trial with `params_of(number)`."""
    return result(number, *args, **{"params": params_of(number), **fields})


def run_folder(path: Path, results: list[TrialResult] | None, **spec: Any) -> Path:
    """A run folder with a spec and results; `None`: no results yet."""
    path.mkdir()
    values = {"name": "sweep", "base": {"seed_everything": 0}, "objective": ACCURACY, "space": SPACE, "n_trials": 100}
    (path / "spec.yaml").write_text(yaml.safe_dump({**values, **spec}))
    if results is not None:
        write_results(path, results)
    return path


def write_curve(run_dir: Path, number: int, values: list[Any], metric: str = "val/acc") -> None:
    """metrics.csv of a trial."""
    folder = TrialFolder(run_dir, number).path
    folder.mkdir(parents=True)
    lines = [f"epoch,elapsed_s,{metric}", *(f"{epoch},1.0,{value}" for epoch, value in enumerate(values, start=1))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


class Page(HTMLParser):
    """A report as a browser reads it: its text, its table rows, what its elements load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None
        self._silent = self._body = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self._silent = tag in ("script", "style")
        if tag == "tbody":
            self._body = True
            self.tables.append([])
        elif tag == "tr" and self._body:
            self.tables[-1].append([])
        elif tag == "td" and self._body:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        self._body = self._body and tag != "tbody"
        if tag == "td" and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(run_dir: Path) -> tuple[Page, str]:
    text = write_report(run_dir).read_text(encoding="utf-8")
    without_plotly = text.replace(get_plotlyjs(), "")
    assert len(without_plotly) == len(text) - len(get_plotlyjs()), "plotly.js must be inlined exactly once"
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', without_plotly, re.DOTALL):
        json.loads(data)
        assert "<" not in data, "a text could end the script element"
    return Page(without_plotly), without_plotly


def page_data(text: str, name: str) -> Any:
    """The JSON that a report holds under an id."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found, f"no {name}"
    return json.loads(found[1])


def table_rows(text: str, name: str) -> list[dict[str, Any]]:
    """The rows of a table that a script fills, by head."""
    columns = page_data(text, f"{name}-data")["columns"]
    rows = zip(*(column["values"] for column in columns), strict=True)
    return [dict(zip([column["name"] for column in columns], row, strict=True)) for row in rows]


def named_results(names: list[str], seeds: int = 3) -> list[TrialResult]:
    """Completed trials of named configurations, the first name best."""
    pairs = [(name, seed) for name in names for seed in range(seeds)]
    values = [0.9 - 0.01 * names.index(name) + 0.001 * seed for name, seed in pairs]
    return [
        result(n, "completed", value, run=name, config_id=name, seed=seed, last={"val/acc": value})
        for n, ((name, seed), value) in enumerate(zip(pairs, values, strict=True))
    ]


def named_folder(path: Path, names: list[str], **spec: Any) -> Path:
    results = named_results(names)
    runs: dict[str, Any] = {name: {} for name in names}
    return run_folder(path, results, space={}, runs=runs, seeds=3, n_trials=len(results), **spec)


def write_diagnostics(run_dir: Path, number: int, *epochs: list[tuple[Any, ...]]) -> None:
    """diagnostics.csv of a trial: for each epoch its layers, each (weights, norm, update, std, dead, saturated)."""
    folder = TrialFolder(run_dir, number).path
    folder.mkdir(parents=True, exist_ok=True)
    head = "epoch,layer,weights,gradient_norm,update_ratio,activation_mean,activation_std,dead,saturated"
    lines = [
        f"{epoch},layer <{at}>,{w},{norm},{update},0.5,{std},{dead},{saturated}"
        for epoch, layers in enumerate(epochs, start=1)
        for at, (w, norm, update, std, dead, saturated) in enumerate(layers, start=1)
    ]
    (folder / "diagnostics.csv").write_text("\n".join([head, *lines]) + "\n")
