"""`Classifier`: the LightningModule for classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_dl.data.batches import Batch
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.losses import LOSSES


class Classifier(SupervisedModule):
    """Classifies samples (batch, *input_shape) float32. Its score is the accuracy, `acc`.

    The labels are (batch,) int64 below `network.outputs`, or 0 and 1 where there is one output.
    """

    score = "acc"

    @property
    def threshold(self) -> float:
        """The value above which a single output means class 1: 0 for a score, one half for a probability or a value."""
        is_score = self.output_activation == "linear" and LOSSES[self.loss_name].output_activations == ("linear",)
        return 0.0 if is_score else 0.5

    def classes(self, outputs: Tensor) -> Tensor:
        """Maps outputs (batch, outputs) to classes (batch,) int64."""
        if outputs.shape[1] == 1:
            return (outputs[:, 0] > self.threshold).long()
        return outputs.argmax(1)

    def _score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.classes(outputs) == targets).sum()

    def _check_targets(self, data: InMemoryDataModule) -> None:
        classes, outputs = data.num_classes, self.network_config.outputs
        if classes is None:
            need = f"must be a lit_dl.Regressor for the values of data.class_path={type(data).__name__}"
            raise ConfigError("model.class_path", f"{need}; got {type(self).__name__}")
        if outputs < classes and not (classes == 2 and outputs == 1):
            need = "1 or more" if classes == 2 else f"{classes} or more"
            raise ConfigError("model.network.outputs", f"must be {need} for {classes} classes; got {outputs}")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Returns class probabilities (batch, classes) float32.

        For a loss without probabilities, returns shares that rank the classes in the same order.
        """
        outputs: Tensor = self(batch[0])
        if self.output_activation == "log_softmax":
            return outputs.exp()
        if outputs.shape[1] == 1:
            share = outputs.sigmoid() if self.threshold == 0.0 else outputs.clamp(0, 1)
            return torch.cat([1 - share, share], 1)
        if self.output_activation != "linear":
            return outputs
        if LOSSES[self.loss_name].output_activations == ("linear",):
            return outputs.softmax(1)
        # The values may lie outside of [0, 1]. They are not clipped, so that the largest stays the largest.
        return F.normalize(outputs - outputs.amin(1, keepdim=True).clamp(max=0), p=1.0)
