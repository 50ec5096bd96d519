"""`NetworkConfig`: the `model.network.*` keys, and the checks that hold for every kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lit_dl.errors import ConfigError, unknown_name
from lit_dl.nn.activations import ACTIVATIONS, OUTPUT_ACTIVATIONS, activation_options
from lit_dl.nn.backbone_config import BackboneConfig
from lit_dl.nn.initializers import resolve_initializer
from lit_dl.nn.norms import NORMS, norm_options
from lit_dl.options import FRACTION, NON_NEGATIVE, given_options

_NORM_POSITIONS = ("none", "before", "after")


@dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers, each `dense or convolution -> [norm] -> activation -> [norm] -> [noise] -> [dropout]`, then a
    linear output.

    Args:
        kind: The kind of the hidden layers.
        backbone: The trained network below the hidden layers, for kind backbone alone.
        depth: Hidden layers, 0 or more; 0 is a linear model. `None`: as many as `width` lists, or 2 when `width` is one
            number (1 on a backbone).
        width: Units (mlp) or channels (cnn) of the hidden layers: one number for all, or a list with one for each.
        activation: The function after the linear part of a hidden layer.
        negative_slope: Slope below 0, in [0, 1). `None`: the default of the activation.
        pieces: Linear pieces of a maxout unit, 2 or more. `None`: 2.
        initializer: The distribution of the initial weights, or auto, which picks by activation. What Keras calls
            *_normal is *_truncated_normal here. Biases start at 0.
        norm: Normalization none, before or after the activation.
        norm_type: The kind of normalization.
        norm_momentum: Share of a batch in the running statistics of batch norm, in (0, 1]. `None`: 0.1, or 0.01 with
            Keras's defaults (there called 0.99).
        norm_eps: Added to the variance, above 0. `None`: 1e-5, or 1e-3 with Keras's defaults.
        bias: Whether hidden layers have a bias; auto: unless batch norm before the activation cancels it. The output
            layer always has one.
        residual: Adds the input of each hidden layer to its output, by a linear projection where widths differ.
        dropout: Share of a hidden layer's outputs dropped in training, in [0, 1). Source: Srivastava et al. 2014,
            inverted.
        input_dropout: The same for the inputs of the network.
        noise: Standard deviation of Gaussian noise added to a hidden layer's outputs in training, 0 or more.
        input_noise: The same for the inputs of the network.
        output_activation: linear, sigmoid, softmax or log_softmax. `None`: the one that the loss needs.
        input_shape: Shape of one sample: channels, height, width for a cnn; anything for an mlp.
        outputs: Number of outputs: classes, 1 for a binary decision, or values to predict.
    """

    kind: Literal["mlp", "cnn", "backbone"] = "mlp"
    backbone: BackboneConfig | None = None
    depth: int | None = None
    width: int | list[int] = 128
    activation: str = "relu"
    negative_slope: float | None = None
    pieces: int | None = None
    initializer: str = "auto"
    norm: Literal["none", "before", "after"] = "none"
    norm_type: Literal["batch", "layer"] = "batch"
    norm_momentum: float | None = None
    norm_eps: float | None = None
    bias: bool | Literal["auto"] = "auto"
    residual: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    noise: float = 0.0
    input_noise: float = 0.0
    output_activation: str | None = None
    input_shape: list[int] = field(default_factory=lambda: [1, 28, 28])
    outputs: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.backbone, Mapping):  # from a checkpoint
            object.__setattr__(self, "backbone", BackboneConfig(**self.backbone))

    def widths(self) -> list[int]:
        """Returns the width of each hidden layer, first to last.

        Raises:
            ConfigError: `depth` below 0 or `width` below 1, or a list whose length is not `depth`.
        """
        if self.depth is not None and self.depth < 0:
            raise ConfigError("depth", f"must be 0 or more; got {self.depth!r}")
        default = 1 if self.kind == "backbone" else 2
        depth = default if self.depth is None else self.depth
        widths = list(self.width) if isinstance(self.width, list | tuple) else [self.width] * depth
        if min(widths, default=1) < 1 or (isinstance(self.width, int) and self.width < 1):
            raise ConfigError("width", f"must be 1 or more for every layer; got {self.width!r}")
        if self.depth not in (None, len(widths)):
            raise ConfigError(
                "depth", f"must be the length of width={self.width!r}; got {self.depth!r}; leave one of the two out"
            )
        return widths

    @property
    def has_bias(self) -> bool:
        """Whether hidden layers have a bias."""
        if self.bias == "auto":
            return not (self.norm == "before" and NORMS[self.norm_type].cancels_bias)
        return self.bias

    @property
    def activation_options(self) -> Mapping[str, float | None]:
        """The options of the activation as given; `None` where not."""
        return given_options(ACTIVATIONS, self)

    @property
    def norm_options(self) -> Mapping[str, float | None]:
        """The options of the normalization as given; `None` where not."""
        return given_options(NORMS, self)


def check_network_config(config: NetworkConfig) -> None:
    """Refuses values that no kind of network can be built from.

    Raises:
        ConfigError: An unknown name, a value out of range, or two values that contradict each other.
    """
    activation_options(config.activation, config.activation_options)
    resolve_initializer(config.initializer, config.activation)
    if config.output_activation not in (None, *OUTPUT_ACTIVATIONS):
        raise unknown_name("output_activation", config.output_activation, OUTPUT_ACTIVATIONS)
    config.widths()
    for key in ("dropout", "input_dropout"):
        FRACTION.check(key, getattr(config, key))
    for key in ("noise", "input_noise"):
        NON_NEGATIVE.check(key, getattr(config, key))
    _check_norm(config)
    _check_shape(config)


def _check_norm(config: NetworkConfig) -> None:
    if config.norm not in _NORM_POSITIONS:
        raise unknown_name("norm", config.norm, _NORM_POSITIONS)
    norm_options(config.norm_type, config.norm_options)
    for key, value in config.norm_options.items():
        if value is not None and config.norm == "none":
            raise ConfigError(
                key, f"{value!r} does not apply to norm='none'; set norm to before or after, or this to null"
            )


def _check_shape(config: NetworkConfig) -> None:
    if config.outputs < 1:
        raise ConfigError("outputs", f"must be 1 or more; got {config.outputs!r}")
    if not config.input_shape or min(config.input_shape) < 1:
        raise ConfigError("input_shape", f"must be the sizes of a sample, each 1 or more; got {config.input_shape!r}")
