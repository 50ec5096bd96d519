"""`BackboneConfig`: the `model.network.backbone.*` keys, a trained network without its last layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lit_dl.errors import ConfigError

_SOURCES = ("checkpoint", "model", "module", "network")


@dataclass(frozen=True)
class BackboneConfig:  # no field is named class_path, which jsonargparse would take for a class of this group
    """A trained network that gives features to new layers. It is named by one of checkpoint, model and module.

    Args:
        checkpoint: Path of a Lightning checkpoint: of a `Classifier` or `Regressor`; or, with `module`, of any other.
            It is loaded with `weights_only=True`.
        model: Name of a torchvision classification model, such as resnet18.
        weights: For model: a name of weights that torchvision downloads (`DEFAULT`, `IMAGENET1K_V1`) or the path of a
            file with a state dict. `None`: random weights.
        module: Import path of an nn.Module, or of a function that returns one.
        arguments: Its arguments.
        prefix: The submodule of the checkpoint to take, such as `net.encoder`. `None`: all of it.
        image_size: Height and width to which samples are resized (bilinear, antialiased). `None`: those of the backbone
            where they are known, otherwise those of the data.
        channels: Channels of the backbone. A grey image is repeated; a colour image becomes its luminance (ITU-R 601).
            `None`: as `image_size`.
        mean: Mean of each channel, subtracted from the inputs. `None`: that of the torchvision model; otherwise 0.
        std: Standard deviation by which they are divided. `None`: that of the torchvision model; otherwise 1.
        cut: The layer whose output are the features; a map of features is averaged over its pixels. `None`: the
            last one before the output layer, or the output of module.
        sha256: SHA-256 of the file of the weights. Written into the saved config; another file is then refused.
        network: The network of a checkpoint, as `model.network` has it. Written into checkpoints, so that they load
            without the file of the backbone.
    """

    checkpoint: str | None = None
    model: str | None = None
    weights: str | None = None
    module: str | None = None
    arguments: dict[str, Any] | None = None
    prefix: str | None = None
    image_size: int | None = None
    channels: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    cut: str | None = None
    sha256: str | None = None
    network: dict[str, Any] | None = None


def check_backbone(config: BackboneConfig) -> None:
    """Refuses a backbone that names no network, or several.

    Raises:
        ConfigError: None or two of the sources, or a key that does not apply to the source.
    """
    given = [name for name in _SOURCES if getattr(config, name) is not None]
    if not given:
        raise ConfigError("backbone", "must name a trained network: checkpoint, model or module; got none of them")
    if len(given) > 1 and set(given) != {"checkpoint", "module"}:
        raise ConfigError("backbone", f"must name one network; got {' and '.join(given)}")
    for key, source in {"weights": "model", "arguments": "module", "prefix": "module"}.items():
        if getattr(config, key) is not None and source not in given:
            raise ConfigError(f"backbone.{key}", f"applies to backbone.{source}, which is not given; set it to null")
