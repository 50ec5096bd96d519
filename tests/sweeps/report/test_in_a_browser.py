"""The report in a real browser: tables, plots and dialogs answer real clicks, and nothing that stood in a name runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from report_folders import ACCURACY, result, run_folder, write_curve
from services import headless_browser

from sweeps.report.page import write_report

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&%{y}"
NAMES = [ATTACK, "🚀 emoji", "עברית rtl", "a\u202eb"]
TRIALS = 1000
SET = """(box => {{
  box.value = '{value}';
  for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind));
}})(document.querySelector('{box}'))"""
ROWS = "[...document.querySelectorAll('#trials tbody tr:not(.spacer)')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as started:
        yield started


@pytest.fixture(scope="module")
def many(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a thousand trials with two objectives and names that attack, opened in the browser."""
    space = {"model.lr": {"low": 1e-4, "high": 1.0, "log": True, "type": "float"}, "model.kind": {"choices": NAMES}}
    outcomes = ["completed", "completed", "pruned", "failed"]

    def trial(number: int) -> Any:
        params = {"model.lr": 10 ** (-4 * (number * 7 % TRIALS) / TRIALS), "model.kind": NAMES[number % 4]}
        outcome = outcomes[number % 4 if number else 0]
        value = None if outcome == "failed" else (number * 11 % TRIALS) / TRIALS
        started = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00", "slot": number % 2}
        return result(number, outcome, value, {"time": 1.0 * (number % 10)}, reason=ATTACK, params=params, **started)

    objective = [ACCURACY, {"metric": "time", "direction": "minimize"}]
    runs = {ATTACK: {"model.kind": ATTACK}}
    spec: dict[str, Any] = {"space": space, "objective": objective, "n_trials": TRIALS, "runs": runs, "name": "sweep"}
    path = tmp_path_factory.mktemp("browser") / ATTACK.replace("/", "_")
    run_dir = run_folder(path, [trial(number) for number in range(TRIALS)], **spec)
    for number in range(40):
        write_curve(run_dir, number, [0.1, "nan", "inf", 0.1 * (number % 7)][: 1 + number % 4])
    folder = run_dir / "trials" / "00001"
    (folder / "config.yaml").write_text(f"name: {json.dumps(ATTACK)}\nseed: 1\n", encoding="utf-8")
    (folder / "log.txt").write_bytes(b"\xff first\n" + ATTACK.encode() + "\nlast 🚀\n".encode())
    (folder / "wandb" / "offline-run-20260101_000000-abc-1").mkdir(parents=True)
    path = write_report(run_dir)
    browser.open(path)
    return path


def test_sort_filter_and_open_by_clicks(browser: Browser, many: Path) -> None:
    assert browser.requests == [many.resolve().as_uri()]
    numbers = f"{ROWS}.map(row => row.cells[0].textContent)"
    assert len(browser.run(numbers)) < 100  # only the rows near those in sight are in the page
    heads = browser.run("[...document.querySelectorAll('#trials th')].map(head => head.textContent)")
    browser.click("#trials th button")
    assert browser.run(f"{numbers}.slice(0, 3)") == ["0", "1", "2"]
    browser.click("#trials th button")
    assert browser.run(f"{numbers}.slice(0, 2)") == ["999", "998"]
    assert browser.run("document.querySelector('#trials th').getAttribute('aria-sort')") == "descending"
    browser.click("#trials th button", heads.index("val/acc"))
    browser.click("#trials input")
    browser.type("failed trial<20")
    assert browser.run(f"{numbers}") == ["3", "7", "11", "15", "19"]  # without a value, by number
    assert browser.run("document.querySelector('#trials output').textContent") == "5 of 1,000 trials"
    browser.run(SET.format(box="#trials input", value="trial=1"))
    browser.click("#trials tbody button")
    shown = browser.run("document.querySelector('dialog[open]').innerText")
    assert "Trial 1" in shown
    assert ATTACK in shown
    assert "last 🚀" in shown
    assert "abc-1, in " in shown
    browser.press("Escape", 27)
    browser.wait_for("!document.querySelector('dialog').open")
    assert browser.errors == []


def test_scrolling_shows_the_last_row(browser: Browser, many: Path) -> None:
    browser.run(SET.format(box="#trials input", value=""))
    browser.run("(box => { box.scrollTop = box.scrollHeight; })(document.querySelector('#trials .table'))")
    browser.wait_for(f"{ROWS}.some(row => row.getAttribute('aria-rowindex') === '{TRIALS + 1}')")
    assert browser.run("document.querySelector('#trials table').getAttribute('aria-rowcount')") == str(TRIALS + 1)


def test_curves_take_any_key_as_colour(browser: Browser, many: Path) -> None:
    traces = "document.getElementById('curves-plot').data.map(trace => trace.name)"
    assert {"failed (10)", "pruned (10)"} <= set(browser.run(traces))
    keys = browser.run("[...document.getElementById('curve-key').options].map(option => option.text)")
    assert keys == ["outcome", "value", "configuration", "model.kind", "lr"]
    browser.run(SET.format(box="#curve-key", value=keys.index("model.kind") - 2))
    names = browser.run(traces)
    assert any(name.startswith("עברית rtl (") for name in names)
    assert any(name.startswith("&#60;/script") for name in names)
    assert not any("<" in name for name in names)
    browser.run(SET.format(box="#curve-key", value=keys.index("lr") - 2))
    assert sum(" to " in name for name in browser.run(traces)) >= 8
    assert browser.errors == []


def test_paper_is_light_and_as_wide_as_the_page(browser: Browser, mixed: Path, tmp_path: Path) -> None:
    browser.open(write_report(mixed), dark=True)
    color = "document.getElementById('history-plot').layout.font.color"
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run(color) == "#1c2430"
    widths = browser.run("[...document.querySelectorAll('.plot')].map(plot => plot.layout.width)")
    assert max(widths) <= 1000
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run(color) == "#e6eaf0"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 30)"
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert browser.errors == []


def test_a_phone_scrolls_in_one_direction(browser: Browser, mixed: Path) -> None:
    browser.open(write_report(mixed), width=400)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") <= 400
    unnamed = "[...document.querySelectorAll('.plot')].filter(plot => !plot.getAttribute('aria-label')).length"
    assert browser.run(unnamed) == 0
    assert browser.run("document.querySelectorAll('thead th:not([scope])').length") == 0
    twice = "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, at, all) => all.indexOf(id) !== at)"
    assert browser.run(twice) == []
