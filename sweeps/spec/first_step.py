"""Runs one training and one validation batch of a sweep's base."""

from __future__ import annotations

import warnings

from lit_dl.config.keys import Config, get_key
from lit_dl.config.overlay import merge
from lit_dl.errors import ConfigError, never_logged
from sweeps.spec.spec import SweepSpec


def logged_in_first_step(spec: SweepSpec, config: Config) -> list[str]:
    """Returns the names of the metrics that one training and one validation batch log.

    Args:
        spec: The spec.
        config: The run config of a trial.

    Raises:
        ConfigError: The step fails, or it does not log a metric that the spec or the config names.
    """
    metrics = _metrics_of_one_step(config)
    watched = [("objective.metric", objective.metric) for objective in spec.objectives]
    watched += [(f"{group}.monitor", get_key(config, f"{group}.monitor")) for group in ("early_stopping", "checkpoint")]
    watched += [(f"{key}.metric", quantity.metric) for key, quantity, _ in spec.quantities() if quantity.has_epochs]
    for key, metric in watched:
        if metric not in metrics:
            raise never_logged(key, metric, metrics)
    return metrics


def _metrics_of_one_step(config: Config) -> list[str]:
    from lit_dl.cli.lit_cli import build_run

    config = merge(config, {"trainer": _step_limits(config), "early_stopping": {"patience": None}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = build_run(config)
        try:
            run.fit()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                "base", f"fails in its first batch ({type(error).__name__}: {error}); try lit-dl fit on it"
            ) from error
    return sorted(name for name, value in run.trainer.callback_metrics.items() if value.numel() == 1)


def _step_limits(config: Config) -> Config:
    """Returns Trainer arguments for one training and one validation batch, in this process alone.

    There is no validation batch if the config never validates.
    """
    every, epochs = (get_key(config, f"trainer.{key}") for key in ("check_val_every_n_epoch", "max_epochs"))
    never = get_key(config, "trainer.limit_val_batches") == 0 or (every or 1) > (epochs or 1) >= 0
    limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0 if never else 1}
    alone = {"devices": 1, "strategy": "auto"}
    return {**limits, **alone, "check_val_every_n_epoch": 1, "val_check_interval": 1.0, "logger": False}
