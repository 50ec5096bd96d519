"""One run: a LightningModule whose techniques are configuration, MNIST in memory, LightningCLI on top.

Names are imported when first used, so that `import lit_dl.errors` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_dl.classifier import Classifier
    from lit_dl.data.in_memory import InMemoryDataModule
    from lit_dl.data.mnist import MNISTDataModule
    from lit_dl.data.toy import LinearRegressionDataModule, LogicGateDataModule
    from lit_dl.network import NetworkConfig
    from lit_dl.optimizers import OptimizerConfig
    from lit_dl.regressor import Regressor
    from lit_dl.regularizers import RegularizationConfig
    from lit_dl.schedules import ScheduleConfig

__all__ = [
    "Classifier",
    "InMemoryDataModule",
    "LinearRegressionDataModule",
    "LogicGateDataModule",
    "MNISTDataModule",
    "NetworkConfig",
    "OptimizerConfig",
    "Regressor",
    "RegularizationConfig",
    "ScheduleConfig",
]

_HOMES = {
    "Classifier": "lit_dl.classifier",
    "InMemoryDataModule": "lit_dl.data.in_memory",
    "LinearRegressionDataModule": "lit_dl.data.toy",
    "LogicGateDataModule": "lit_dl.data.toy",
    "MNISTDataModule": "lit_dl.data.mnist",
    "NetworkConfig": "lit_dl.network",
    "OptimizerConfig": "lit_dl.optimizers",
    "RegularizationConfig": "lit_dl.regularizers",
    "Regressor": "lit_dl.regressor",
    "ScheduleConfig": "lit_dl.schedules",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lit_dl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
