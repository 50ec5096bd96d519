"""`compile: true` gives what `compile: false` gives, and one warning where nothing compiles."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor_config
from torch._inductor.utils import fresh_cache

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.nn import compilation
from lit_dl.nn.compilation import compile_network

Config = dict[str, Any]
MakeConfig = Callable[..., Config]

# The compiler fuses and reorders sums of float32, which are exact to 6e-8; two epochs of eleven steps let that grow.
TOLERANCE = 1e-4
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


@pytest.fixture
def settings(config: MakeConfig) -> Config:
    """Layers with hooks, a penalty on what they give, running statistics, and a gradient of our own; nothing random."""
    return config(
        data__drop_last=True,  # one size of batch, one compilation
        model__network__activation="hardmax",
        model__network__norm="before",
        model__regularization__activity_l1=0.01,
        model__optimizer__name="momentum",
    )


def trained(config: Config) -> Any:
    run = build_run(config)
    run.check()
    run.open()
    run.fit()
    return run


@needs_compiler
def test_a_compiled_network_learns_the_same(settings: Config, caplog: pytest.LogCaptureFixture) -> None:
    plain = trained(settings)
    settings["model"]["compile"] = True
    compiled = trained(settings)
    assert plain.module.network._compiled_call_impl is None
    assert compiled.module.network._compiled_call_impl is not None
    assert not [record for record in caplog.records if record.name == "lit_dl"]
    for row, expected in zip(compiled.rows, plain.rows, strict=True):
        assert {**row, "elapsed_s": 0} == pytest.approx({**expected, "elapsed_s": 0}, rel=TOLERANCE)
    ours, theirs = compiled.module.state_dict(), plain.module.state_dict()
    assert list(ours) == list(theirs)  # a checkpoint of one is a checkpoint of the other
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture
def no_compiler(tmp_path: Path) -> Iterator[None]:
    """A compiler that does not exist, and a cache without any compilation."""
    compilation._compiler_failure.cache_clear()
    with inductor_config.patch({"cpp.cxx": ("/nonexistent",)}), fresh_cache():
        torch._dynamo.reset()
        yield
    torch._dynamo.reset()
    compilation._compiler_failure.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_lit_dl_says_so_once_and_trains_all_the_same(
    settings: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(settings))
    command(["fit", "-c", str(path), "--model.compile=true", "--run_dir", str(tmp_path / "out")])
    (line,) = [text for record in caplog.records if "model.compile" in (text := record.getMessage())]
    assert line.startswith("model.compile: no working compiler here, so nothing is compiled (")
    assert "/nonexistent" in line
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    expected = trained(settings).rows
    assert [{**row, "elapsed_s": 0} for row in rows] == [{**row, "elapsed_s": 0} for row in expected]


@pytest.mark.parametrize("reason", [None, "InductorError: no compiler"])
def test_a_network_is_compiled_where_that_works(
    reason: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compilation, "_compiler_failure", lambda device: reason)
    network = nn.Sequential(nn.Linear(2, 1))
    with caplog.at_level(logging.WARNING):
        assert compile_network(network, torch.device("cpu")) == (reason is None)
    assert (network._compiled_call_impl is not None) == (reason is None)
    assert list(network.state_dict()) == ["0.weight", "0.bias"]
    assert [record.getMessage() for record in caplog.records] == (
        [f"model.compile: no working compiler here, so nothing is compiled ({reason})"] if reason else []
    )


def test_why_it_does_not_compile_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(function: Any) -> Any:
        calls.append(function)
        raise RuntimeError("no compiler today\nand a long story")

    monkeypatch.setattr(torch, "compile", refuse)
    compilation._compiler_failure.cache_clear()
    reasons = {compilation._compiler_failure(torch.device("cpu")) for _ in range(3)}
    compilation._compiler_failure.cache_clear()
    assert (reasons, len(calls)) == ({"RuntimeError: no compiler today"}, 1)
