"""torch.compile, where there is a compiler."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
from torch import nn


def compile_network(network: nn.Module, device: torch.device) -> bool:
    """Compiles a network in place, names of its parameters unchanged; without a working compiler it stays as it is.

    Args:
        network: Whose calls are compiled, when the first comes.
        device: Where it runs.

    Returns:
        Whether it is compiled; if not, one warning says why.
    """
    reason = _why_not(device)
    if reason is None:
        network.compile()
        return True
    logging.getLogger("lit_dl").warning("model.compile: no working compiler here, so nothing is compiled (%s)", reason)
    return False


@lru_cache(maxsize=4)
def _why_not(device: torch.device) -> str | None:
    """Why a small function does not compile; `None` when it does. There is no cheaper way to know for every device."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # of the compiler's, the driver's, the linker's
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    return None
