"""Prints what `lit-dl fit` shows. On several devices only rank 0 prints."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.nn.parameter import is_lazy

from lit_dl.run.epoch_rows import Row
from lit_dl.run.run_result import RunResult


@rank_zero_only
def print_row(row: Row) -> None:
    """Prints the metrics of an epoch as one line."""
    metrics = {name: value for name, value in row.items() if name not in ("epoch", "elapsed_s")}
    print(f"epoch {row['epoch']:3d}  {row['elapsed_s']:7.1f} s  {_format_metrics(metrics)}", flush=True)


@rank_zero_only
def print_result(result: RunResult) -> None:
    """Prints how a run ended, its best epoch, and its best checkpoint."""
    print(f"{result.stopped} after {result.epochs} epochs, {result.seconds['total']:.1f} s")
    print(f"best epoch {result.best_epoch}: {_format_metrics(result.metrics)}")
    if result.best_checkpoint:
        print(f"best checkpoint {result.best_checkpoint}")


def count_parameters(module: nn.Module) -> str:
    """Returns how many parameters a module has, and how many of them are trained in the first epoch."""
    sizes = dict.fromkeys((True, False), 0)
    for parameter in module.parameters():
        sizes[parameter.requires_grad] += 0 if is_lazy(parameter) else parameter.numel()
    frozen = f": {sizes[True]:,} trained, {sizes[False]:,} frozen" if sizes[False] else ""
    return f"{sum(sizes.values()):,} parameters{frozen}"


def _format_metrics(metrics: Mapping[str, float]) -> str:
    small = {name for name, value in metrics.items() if 0 < abs(value) < 0.001}
    return "  ".join(
        f"{name} {value:.2e}" if name in small else f"{name} {value:.4f}" for name, value in metrics.items()
    )
