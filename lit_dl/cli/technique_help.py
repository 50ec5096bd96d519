"""What `--help` says about each name of our tables."""

from __future__ import annotations

from argparse import Action
from collections.abc import Mapping
from textwrap import fill

from jsonargparse import DefaultHelpFormatter

from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.initializers import AUTO, INITIALIZERS
from lit_dl.nn.losses import LOSSES
from lit_dl.optim.optimizers import OPTIMIZERS
from lit_dl.optim.schedules import SCHEDULES


def _lines(table: Mapping[str, object]) -> dict[str, str]:
    return {name: str(row.source) for name, row in table.items()}  # type: ignore[attr-defined]


# By dotted key: names, and a line that says what each is and where it comes from.
TECHNIQUES: dict[str, dict[str, str]] = {
    "model.network.activation": _lines(ACTIVATIONS),
    "model.network.initializer": {"auto": AUTO, **_lines(INITIALIZERS)},
    "model.loss": _lines(LOSSES),
    "model.optimizer.name": _lines(OPTIMIZERS),
    "model.schedule.name": _lines(SCHEDULES),
}


class TechniqueHelp(DefaultHelpFormatter):
    """jsonargparse's help, with a line for each name that a key of ours may have."""

    def _format_action(self, action: Action) -> str:
        text = super()._format_action(action)
        for name, line in TECHNIQUES.get(action.dest, {}).items():
            text += fill(f"{name}: {line}", self._width, initial_indent=" " * 24, subsequent_indent=" " * 26) + "\n"
        return text
