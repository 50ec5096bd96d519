"""`Regressor`: the LightningModule for regression."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_dl.data.batches import Batch
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.losses import LOSSES


class Regressor(SupervisedModule):
    """Predicts values (batch, outputs) float32 from samples (batch, *input_shape) float32.

    Its score is the root of the mean squared error, `rmse`.

    Args:
        loss: mse, mae, rmse, huber, pseudo_huber or log_cosh; binary_cross_entropy for values in [0, 1].
        **kwargs: Arguments of `SupervisedModule`.
    """

    score = "rmse"

    def __init__(self, loss: str = "mse", **kwargs: Any) -> None:
        if loss in LOSSES and LOSSES[loss].takes_labels:
            fits = ", ".join(name for name, row in LOSSES.items() if not row.takes_labels)
            raise ConfigError("loss", f"{loss!r} is for classes, and a Regressor predicts values; choose from {fits}")
        super().__init__(loss=loss, **kwargs)

    def values(self, outputs: Tensor) -> Tensor:
        """Maps outputs to predicted values: by the sigmoid for binary_cross_entropy, which has logits."""
        return outputs.sigmoid() if self.loss_name == "binary_cross_entropy" else outputs

    def _score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.values(outputs) - targets).square().mean(1).sum()

    def _metric_of_mean_score(self, score: Tensor) -> Tensor:
        return score.sqrt()

    def _check_targets(self, data: InMemoryDataModule) -> None:
        if data.num_classes is not None:
            need = f"must be a lit_dl.Classifier for the classes of data.class_path={type(data).__name__}"
            raise ConfigError("model.class_path", f"{need}; got {type(self).__name__}")
        targets = data.samples("train", torch.device("cpu"))[1]
        if targets.shape[1:] != (self.network_config.outputs,):
            raise ConfigError(
                "model.network.outputs",
                f"must be {targets.shape[1]}, as many as the data's targets; got {self.network_config.outputs}",
            )

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Returns predicted values (batch, outputs) float32."""
        return self.values(self(batch[0]))
