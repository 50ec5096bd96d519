"""torch.compile for networks, with a warning instead of an error where no compiler works."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
from torch import nn


def compile_network(network: nn.Module, device: torch.device) -> bool:
    """Compiles a network in place at its first call. The names of its parameters stay.

    Without a working compiler the network stays uncompiled, and one warning gives the reason.

    Args:
        network: The network.
        device: The device on which it runs.

    Returns:
        Whether it is compiled.
    """
    reason = _compiler_failure(device)
    if reason is None:
        network.compile()
        return True
    logging.getLogger("lit_dl").warning("model.compile: no working compiler here, so nothing is compiled (%s)", reason)
    return False


@lru_cache(maxsize=4)
def _compiler_failure(device: torch.device) -> str | None:
    """Compiles a small function and returns why that fails; `None` when it works.

    No cheaper check covers every device.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # of the compiler, the driver or the linker
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    return None
