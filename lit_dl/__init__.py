"""One training run from a config: models with techniques as keys, data in memory, LightningCLI as the command line.

Names are imported when they are first used, so that `import lit_dl.errors` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_dl.data.images import ImageDataModule
    from lit_dl.data.images import ImageDataModule as MNISTDataModule
    from lit_dl.data.in_memory import InMemoryDataModule
    from lit_dl.data.toy import LinearRegressionDataModule, LogicGateDataModule
    from lit_dl.modules.classifier import Classifier
    from lit_dl.modules.regressor import Regressor
    from lit_dl.nn.network_config import NetworkConfig
    from lit_dl.nn.regularizers import RegularizationConfig
    from lit_dl.optim.optimizers import OptimizerConfig
    from lit_dl.optim.schedules import ScheduleConfig

__all__ = [
    "Classifier",
    "ImageDataModule",
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

_MODULES = {
    "Classifier": "lit_dl.modules.classifier",
    "ImageDataModule": "lit_dl.data.images",
    "InMemoryDataModule": "lit_dl.data.in_memory",
    "LinearRegressionDataModule": "lit_dl.data.toy",
    "LogicGateDataModule": "lit_dl.data.toy",
    "MNISTDataModule": "lit_dl.data.mnist",
    "NetworkConfig": "lit_dl.nn.network_config",
    "OptimizerConfig": "lit_dl.optim.optimizers",
    "RegularizationConfig": "lit_dl.nn.regularizers",
    "Regressor": "lit_dl.modules.regressor",
    "ScheduleConfig": "lit_dl.optim.schedules",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lit_dl' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
