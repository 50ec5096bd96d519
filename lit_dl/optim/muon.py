"""`MuonAdamW`: Muon for matrices and AdamW for the other parameters, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """Trains the matrices of each group by torch's Muon and the other parameters by torch's AdamW.

    Both have the same learning rate and weight decay. Muon's steps are scaled to the size of AdamW's.

    Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the scaling by Liu et al. 2025 (arXiv 2502.16982),
    section 2.2.

    Args:
        params: Parameter groups, dicts with `params`.
        lr: Learning rate.
        momentum: Momentum of Muon.
        weight_decay: Decoupled weight decay of both.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 0.001,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        self._parts: list[Optimizer] = []
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group as two: its matrices, and its other parameters."""
        given = list(param_group["params"])
        for rule, is_matrix in ((Muon, True), (AdamW, False)):
            params = [parameter for parameter in given if (parameter.ndim == 2) is is_matrix]
            if params:
                defaults = {**rule(params).param_groups[0], **self.defaults}
                scaled = {"adjust_lr_fn": "match_rms_adamw"} if is_matrix else {}
                super().add_param_group({**defaults, **scaled, **param_group, "params": params})
        self._share_state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the state of a copy, or of `load_state_dict`."""
        super().__setstate__(state)
        self._share_state()

    def _share_state(self) -> None:
        """Builds the two optimizers anew over the groups and the state of this one.

        Schedules, checkpoints and `zero_grad` see this optimizer only, so the two must have the same objects.
        """
        self._parts = []
        for rule, key in ((Muon, "ns_steps"), (AdamW, "betas")):
            groups = [group for group in self.param_groups if key in group]
            if groups:
                part = rule(groups)
                part.param_groups, part.state = groups, self.state
                self._parts.append(part)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes a step of both optimizers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss
