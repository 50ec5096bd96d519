"""Help formatter that adds a line for each technique of our tables to `--help`."""

from __future__ import annotations

from argparse import Action
from collections.abc import Mapping
from textwrap import fill

from jsonargparse import DefaultHelpFormatter

from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.initializers import INITIALIZERS, describe_auto
from lit_dl.nn.losses import LOSSES
from lit_dl.nn.networks import NETWORKS
from lit_dl.nn.norms import NORMS
from lit_dl.optim.optimizers import OPTIMIZERS
from lit_dl.optim.schedules import SCHEDULES
from lit_dl.options import Option, Technique


def _lines(table: Mapping[str, Technique]) -> dict[str, str]:
    """Returns the help text of each row: what it is, its source, and its options with their defaults."""
    return {name: "; ".join([row.source, *_defaults(row.options)]) for name, row in table.items()}


def _defaults(options: Mapping[str, Option]) -> list[str]:
    texts = [f"{name} {_default(option)}" for name, option in options.items()]
    return [f"defaults: {', '.join(texts)}"] if texts else []


def _default(option: Option) -> str:
    keras = "" if option.keras is None else f" (Keras {option.keras:g})"
    return f"{option.default:g}{keras}"


# By dotted key: the names that it may have, and the help text of each.
TECHNIQUES: dict[str, dict[str, str]] = {
    "model.network.kind": {name: builder.source for name, builder in NETWORKS.items()},
    "model.network.activation": _lines(ACTIVATIONS),
    "model.network.initializer": {
        "auto": describe_auto(),
        **{name: row.source for name, row in INITIALIZERS.items()},
    },
    "model.network.norm_type": _lines(NORMS),
    "model.loss": _lines(LOSSES),
    "model.optimizer.name": _lines(OPTIMIZERS),
    "model.schedule.name": _lines(SCHEDULES),
}


class TechniqueHelp(DefaultHelpFormatter):
    """Help formatter of jsonargparse that adds a line for each technique that a key may name."""

    def _format_action(self, action: Action) -> str:
        text = super()._format_action(action)
        for name, line in TECHNIQUES.get(action.dest, {}).items():
            text += fill(f"{name}: {line}", self._width, initial_indent=" " * 24, subsequent_indent=" " * 26) + "\n"
        return text
