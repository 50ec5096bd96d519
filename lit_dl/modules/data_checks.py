"""Checks of data against a module, before training. The data is set up."""

from __future__ import annotations

from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError


def check_input_shape(data: InMemoryDataModule, expected: list[int]) -> None:
    """Refuses samples of another shape than the network expects.

    Raises:
        ConfigError: The shapes differ.
    """
    if data.shape != expected:
        raise ConfigError(
            "model.network.input_shape", f"must be {data.shape}, as the data's samples are; got {expected}"
        )


def check_no_single_sample(data: InMemoryDataModule) -> None:
    """Refuses a batch size that leaves a device with a batch of one sample.

    Raises:
        ConfigError: The smallest batch has less than two samples for a device.
    """
    least = 2 * data.world_size
    if data.smallest_batch < least:
        fix = f"choose {least} or more" if data.batch_size < least else "choose another, or set data.drop_last"
        where = f" on one of {data.world_size} devices" if data.world_size > 1 else ""
        raise ConfigError(
            "data.batch_size",
            f"must leave no batch of one sample{where}, which batch norm cannot normalize, of "
            f"{len(data.train_rows):,}; got {data.batch_size}; {fix}",
        )


def check_loss_on_devices(data: InMemoryDataModule, loss: str) -> None:
    """Refuses a loss that cannot be averaged over several devices.

    Raises:
        ConfigError: The loss is rmse, and there are several devices.
    """
    if loss == "rmse" and data.world_size > 1:
        raise ConfigError(
            "model.loss",
            f"must not be rmse on {data.world_size} devices, whose roots do not add up to that of a batch; "
            "take mse, which is least where rmse is",
        )
