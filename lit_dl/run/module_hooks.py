"""The hooks that a `Run` asks of a module. Our own modules implement them; others get the defaults.

And the hooks of Lightning's that a module or its data must have to be tested or to predict.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_dl.errors import ConfigError


@runtime_checkable
class RunHooks(Protocol):
    """What a module tells the run that trains it. A module has all of these or none."""

    default_monitor: str | None
    """The metric of early stopping and of the best epoch where the config names none."""

    diagnoses_layers: bool
    """Whether `diagnostics.csv` is written where the config does not say."""

    syncs_metrics: bool
    """Whether the module logs the same values on all ranks. Otherwise the run averages what it logs."""

    def logged_metrics(self) -> list[str] | None:
        """Returns the metrics of each epoch; `None`: they are not known before the run."""

    def prepare_trainer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the keyword arguments of the Trainer, changed where the module does something itself."""

    def check_run(self, data: LightningDataModule | None, trainer: Trainer) -> None:
        """Finds what only shows with the data and the Trainer at hand. The data is set up.

        Raises:
            ConfigError: The run cannot work.
        """


class DefaultHooks:
    """The hooks of a module that does not define any."""

    default_monitor: str | None = None
    diagnoses_layers = False
    syncs_metrics = False

    def logged_metrics(self) -> list[str] | None:
        """Returns nothing: a module may log anything."""
        return None

    def prepare_trainer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments as they are."""
        return arguments

    def check_run(self, data: LightningDataModule | None, trainer: Trainer) -> None:
        """Accepts everything."""


def hooks_of(module: LightningModule) -> RunHooks:
    """Returns the hooks of a module: the module itself, or the defaults."""
    return module if isinstance(module, RunHooks) else DefaultHooks()


def require_test(module: LightningModule, data: LightningDataModule | None) -> None:
    """Refuses to evaluate on a test set what has none.

    Raises:
        ConfigError: There is no `test_step`, or no `test_dataloader`.
    """
    if not is_overridden("test_step", module):
        raise ConfigError("model", f"must have a test_step; {type(module).__name__} has none")
    _require_loader("test_dataloader", module, data)


def require_prediction(module: LightningModule, data: LightningDataModule | None) -> None:
    """Refuses to predict with what cannot.

    Raises:
        ConfigError: There is neither a `predict_step` nor a `forward`, or no `predict_dataloader`.
    """
    if not any(is_overridden(name, module) for name in ("predict_step", "forward")):
        raise ConfigError("model", f"must have a predict_step or a forward; {type(module).__name__} has neither")
    _require_loader("predict_dataloader", module, data)


def _require_loader(name: str, module: LightningModule, data: LightningDataModule | None) -> None:
    owner = module if data is None else data
    if not is_overridden(name, owner):
        raise ConfigError("model" if data is None else "data", f"must have a {name}; {type(owner).__name__} has none")
