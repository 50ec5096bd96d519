"""The layers of any module: their weights, and short names for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer


def layer_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the parameters of two or more axes by layer name, in order of registration."""
    weights = {name: weight for name, weight in module.named_parameters() if not is_lazy(weight) and weight.ndim > 1}
    return dict(zip(layer_names(weights), weights.values(), strict=True))


def trained_weights(module: nn.Module, optimizer: Optimizer) -> dict[str, nn.Parameter]:
    """Returns those weights of the layers of a module that an optimizer trains."""
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    return {name: weight for name, weight in layer_weights(module).items() if id(weight) in trained}


def layer_names(parameters: Iterable[str]) -> list[str]:
    """Returns the shortest prefix of each dotted parameter name that no other parameter has.

    What all names have in common is left out: `network.hidden_1.linear.weight` and `network.output.weight` become
    `hidden_1` and `output`. A number keeps the word before it, as in `net.0`.
    """
    paths = [name.replace("_orig_mod.", "").split(".") for name in parameters]  # torch.compile's wrapper
    max_shared = min((len(path) for path in paths), default=0) - 2  # at least a layer and its parameter stay
    shared = 0
    while shared < max_shared and len({path[shared] for path in paths}) == 1:
        shared += 1
    if shared and any(path[shared].isdigit() for path in paths):
        shared -= 1
    prefixes = [[".".join(path[shared:end]) for end in range(shared + 1, len(path) + 1)] for path in paths]
    counts = Counter(prefix for candidates in prefixes for prefix in candidates)
    return [next(prefix for prefix in candidates if counts[prefix] == 1) for candidates in prefixes]
