"""Published values and claims of a spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweep_specs import with_published

from sweeps.spec.parse_spec import load_spec, parse_spec
from sweeps.spec.published import usual_direction
from sweeps.spec.spec import check_continues


def test_less_of_a_loss_is_better() -> None:
    less = ("train/loss", "val/rmse", "valid_error", "ValError/mae", "error")
    assert {usual_direction(metric) for metric in less} == {"minimize"}
    assert {usual_direction(metric) for metric in ("val/acc", "epochs", "loss/ratio", "lossless")} == {"maximize"}


def test_the_resolved_spec_reads_back_the_same(tmp_path: Path) -> None:
    spec = parse_spec(with_published(tmp_path), tmp_path, "tiny")
    (tmp_path / "spec.yaml").write_text(spec.dump())
    again = load_spec(tmp_path / "spec.yaml")
    assert again.dump() == spec.dump()
    assert (again.published, again.claims) == (spec.published, spec.claims)
    assert spec.claims[0].direction == "minimize"
    assert again.claims[1].within == 0


def test_figures_and_claims_may_change_when_a_sweep_goes_on(tmp_path: Path) -> None:
    spec = parse_spec(with_published(tmp_path), tmp_path, "tiny")
    check_continues(replace(spec, published=[], claims=[]), spec)
