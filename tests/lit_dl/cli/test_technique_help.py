"""`lit-dl fit --help` and README name every technique, so that a new row of a table cannot be forgotten there."""

from __future__ import annotations

import re

import pytest
from paths import REPOSITORY

from lit_dl.cli.command import command
from lit_dl.cli.technique_help import TECHNIQUES
from lit_dl.optim.optimizers import OPTIMIZERS

TABLES = "\n".join(line for line in (REPOSITORY / "README.md").read_text().splitlines() if line.startswith("|"))


def is_in_readme(name: str) -> bool:
    """Whether a table of README has the name, or the two parts of a scaled initializer (`he`, `_normal`)."""
    family, _, draw = name.partition("_")
    whole = re.search(rf"\b{name}\b", TABLES)
    return bool(whole or (draw and re.search(rf"\b{family}\b", TABLES) and f"`_{draw}`" in TABLES))


@pytest.mark.parametrize("key", TECHNIQUES)
def test_readme_names_every_technique(key: str) -> None:
    missing = [name for name in TECHNIQUES[key] if not is_in_readme(name)]
    assert not missing, f"add {missing} to the row of {key} in README"


def test_a_name_that_readme_lacks_is_noticed() -> None:
    assert not is_in_readme("snake")
    assert not is_in_readme("xavier_normal")


def test_help_has_a_line_for_every_technique(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for key, lines in TECHNIQUES.items():
        assert f"--{key}" in text
        assert [name for name, line in lines.items() if f" {name}: {line}" not in text] == []


def test_a_line_ends_with_the_options_and_their_defaults() -> None:
    (lr, momentum), line = (
        [OPTIMIZERS["muon"].options[key] for key in ("lr", "momentum")],
        TECHNIQUES["model.optimizer.name"]["muon"],
    )
    assert (lr.default, momentum.default) == (0.001, 0.95)
    assert line.endswith("; defaults: lr 0.001, momentum 0.95, weight_decay 0.1 (Keras 0.004)")
    assert "default" not in TECHNIQUES["model.network.activation"]["relu"]
