"""Runs one training and one validation batch of a sweep's base."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lit_dl.config.keys import Config, class_paths, get_key
from lit_dl.config.overlay import merge
from lit_dl.errors import ConfigError, never_logged, suggest
from sweeps.spec.last_step import count_reports
from sweeps.spec.spec import SweepSpec
from sweeps.spec.user_code import ends_an_epoch, user_line

if TYPE_CHECKING:
    from lit_dl.run.run import Run
    from lit_dl.tracking import Mode

_MOST_EPOCHS = 10
_LEAVE_OUT = "check: build leaves this step out"


@dataclass
class FirstStep:
    """What is known after the first step of a trial.

    Args:
        metrics: Names of the metrics that it logs.
        notes: What could not be tried.
        reports: Values that a trial reports to its pruner; `None`: not known.
        is_complete: Whether every epoch of the run was tried, on one batch each.
    """

    metrics: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reports: int | None = None
    is_complete: bool = False


def try_first_step(spec: SweepSpec, config: Config, wandb: Mode | None = None) -> FirstStep:
    """Runs one training and one validation batch of a trial, with the arguments of its Trainer and a logger.

    While a metric that is named is missing, the same is tried in the next epochs, because a module may log it in some
    epochs only.

    Args:
        spec: The spec.
        config: The run config of a trial.
        wandb: Mode of the W&B runs of the trials; `None`: that of the config.

    Raises:
        ConfigError: The step fails, or it does not log a metric that the spec or the config names.
    """
    watched = [("objective.metric", objective.metric) for objective in spec.objectives]
    groups = ["checkpoint", *["early_stopping"] * (get_key(config, "early_stopping.patience") is not None)]
    watched += [(f"{group}.monitor", get_key(config, f"{group}.monitor")) for group in groups]
    watched += [(f"{key}.metric", quantity.metric) for key, quantity, _ in spec.quantities() if quantity.has_epochs]
    tried = _run_first_step(config, [metric for _, metric in watched], wandb)
    for key, metric in watched:
        if metric in tried.metrics:
            continue
        if not tried.notes and (tried.is_complete or suggest(metric, tried.metrics) or not tried.metrics):
            raise never_logged(key, metric, tried.metrics)
    missing = dict.fromkeys(metric for _, metric in watched if metric not in tried.metrics)
    tried.notes += [f"{metric} was not logged in the check; a trial that never logs it fails" for metric in missing]
    return tried


def _run_first_step(config: Config, watched: Collection[str], wandb: Mode | None) -> FirstStep:
    from lit_dl.callbacks.one_batch_epochs import OneBatchEpochs, Tried
    from lit_dl.cli.lit_cli import build_run

    alone = {"devices": 1, "strategy": "auto"}  # in this process
    config = merge(config, {"trainer": alone, "early_stopping": {"patience": None}})
    shortened = OneBatchEpochs(lambda epochs: epochs >= _MOST_EPOCHS or set(watched) <= {*run.trainer.callback_metrics})
    tried = FirstStep()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = build_run(config, callbacks=[shortened])
        _add_logger(run, wandb or get_key(config, "tracking.wandb"))
        try:
            run.fit()
            tried.is_complete = True
        except Tried:
            pass
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            tried.notes.append(_note_or_refusal(error, config))
    tried.metrics = sorted({*_logged(run)})
    tried.reports = count_reports(run.trainer, shortened.validates_every, shortened.epochs)
    return tried


def _add_logger(run: Run, wandb: str | None) -> None:
    """Gives a run the logger that trials have, without a W&B run behind it."""
    from lit_dl.tracking import Tracker

    tracker = None
    if wandb != "disabled" and run.scratch is not None:
        tracker = Tracker("disabled", run.scratch, project=None, name="check", run_id="check")
    run.add_logger(tracker)


def _note_or_refusal(error: BaseException, config: Config) -> str:
    """Returns what to say of an error at the end of an epoch, where a single batch may be too little for a score.

    Raises:
        ConfigError: The error would be one in a trial, too.
    """
    packages = [path.split(".")[0] for path in class_paths(config) if path is not None]
    line = user_line(error, [*packages, "torchmetrics"])
    what = f"{type(error).__name__}: {error}" + (f"; {line}" if line else "")
    never_right = isinstance(error, NameError | AttributeError | ImportError | SystemExit)
    if ends_an_epoch(error) and line is not None and not never_right:
        return f"after a single batch the end of an epoch fails in the check ({what})"
    raise ConfigError("base", f"fails in its first batch ({what}); try lit-dl fit on it, or {_LEAVE_OUT}") from error


def _logged(run: Run) -> Iterable[str]:
    """Yields the names of the metrics that were logged, those included whose epoch has not ended."""
    for name, value in run.trainer.callback_metrics.items():
        if value.numel() == 1:
            yield name
    loop: Any = run.trainer.fit_loop.epoch_loop
    for results in (loop._results, loop.val_loop._results):
        yield from (result.meta.name for result in results.values())
