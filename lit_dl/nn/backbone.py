"""Trained networks below new layers, `kind: backbone`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_dl.errors import ConfigError
from lit_dl.nn.backbone_config import BackboneConfig, check_backbone
from lit_dl.nn.backbone_loading import LoadedBackbone, load_backbone
from lit_dl.nn.finetuning import FinetuneConfig, lr_factor, unfrozen_from
from lit_dl.nn.input_adapter import InputAdapter
from lit_dl.nn.mlp import MLPBuilder
from lit_dl.nn.network import Network
from lit_dl.nn.network_builder import NamedLayers
from lit_dl.nn.network_config import NetworkConfig

_FEWEST_BLOCKS = 3  # a model whose children are `features` and `classifier` is not of two blocks


class BackboneNetwork(Network):
    """A trained network, new layers on its features, and a linear output.

    The blocks of the backbone are frozen and unfrozen by epoch, as `finetune` says. Nothing is remembered: the state
    of the epoch that begins is computed anew.
    """

    backbone: nn.Module
    """The trained network, up to its features."""
    finetune = FinetuneConfig()
    architecture: dict[str, Any] | None = None
    """The network of a checkpoint of ours, as `model.network` has it."""
    _epoch = 0

    def set_finetuning(self, finetune: FinetuneConfig) -> None:
        """Sets how the backbone is trained, from the first epoch on."""
        self.finetune = finetune
        self._set_trained()

    def begin_epoch(self, epoch: int) -> None:
        """Freezes and unfreezes blocks; see `Network.begin_epoch`."""
        self._epoch = epoch
        self._set_trained()
        self.train(self.training)

    def _set_trained(self) -> None:
        for depth, parameters in self._parameters_by_depth().items():
            for parameter in parameters:
                parameter.requires_grad_(self._is_trained(depth))

    def train(self, mode: bool = True) -> BackboneNetwork:
        """Sets training or evaluation mode. Frozen blocks stay in evaluation mode: no dropout, the statistics kept."""
        super().train(mode)
        if mode:
            for depth, block in enumerate(self._blocks(), start=1):
                if not self._is_trained(depth):
                    self._freeze_mode(block)
        return self

    def _freeze_mode(self, block: nn.Module) -> None:
        for module in block.modules():
            is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            if not (is_norm and self.finetune.norm == "running"):
                module.training = False

    def _is_trained(self, depth: int) -> bool:
        return unfrozen_from(self.finetune, depth) <= self._epoch

    def _blocks(self) -> list[nn.Module]:
        """Returns the blocks of the backbone, the last one first; a norm belongs to the block before it."""
        return [nn.ModuleList(block) for block in reversed(_blocks_of(self.backbone))]

    def _parameters_by_depth(self) -> dict[int, list[nn.Parameter]]:
        """Returns the parameters by depth: 0 for the new layers, 1 for the last block of the backbone, and so on."""
        blocks = [list(block.parameters()) for block in self._blocks()] or [[]]
        in_blocks = {id(parameter) for block in blocks for parameter in block}
        # Parameters outside of all blocks, such as the class token of a transformer, act on the input.
        blocks[-1] = [*(p for p in self.backbone.parameters() if id(p) not in in_blocks), *blocks[-1]]
        below = {id(parameter) for block in blocks for parameter in block}
        head = [parameter for parameter in self.parameters() if id(parameter) not in below]
        return {0: head} | dict(enumerate(blocks, start=1))

    def weight_matrices(self) -> list[Tensor]:
        """Returns those weights of dense and convolutional layers that are trained now."""
        return [weight for weight in super().weight_matrices() if weight.requires_grad]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns a group for each block of the backbone, first to last, and one for the new layers."""
        by_depth = reversed(self._parameters_by_depth().items())
        return [{"params": parameters, "depth": depth} for depth, parameters in by_depth if parameters]

    def lr_factor(self, group: Mapping[str, Any], elapsed: float) -> float:
        """Returns the decay by depth, times the warm-up after unfreezing; see `Network.lr_factor`."""
        return lr_factor(self.finetune, group.get("depth", 0), elapsed)

    @property
    def varies_lr(self) -> bool:
        return self.finetune.lr_decay != 1.0 or self.finetune.warmup_epochs > 0

    def saved_config(self, config: NetworkConfig) -> NetworkConfig:
        """Returns the config with the network of the backbone in place of the file of its weights."""
        assert config.backbone is not None
        backbone = replace(config.backbone, checkpoint=None, weights=None, network=self.architecture)
        return replace(config, backbone=backbone)


def _blocks_of(module: nn.Module) -> list[list[nn.Module]]:
    """Returns the blocks of a module, first to last: its children, or those of the largest one while they are few."""
    blocks = _children(module)
    while len(blocks) < _FEWEST_BLOCKS:
        parts = [_children(block[0]) for block in blocks]
        sizes = [_size(block) if len(part) > 1 else 0 for block, part in zip(blocks, parts, strict=True)]
        if not any(sizes):
            break
        largest = sizes.index(max(sizes))
        parts[largest][-1].extend(blocks[largest][1:])
        blocks[largest : largest + 1] = parts[largest]
    return blocks


def _children(module: nn.Module) -> list[list[nn.Module]]:
    """Returns the children that have parameters; one without weights, such as a norm, belongs to the one before it."""
    blocks: list[list[nn.Module]] = []
    for child in module.children():
        if blocks and all(parameter.ndim < 2 for parameter in child.parameters()):
            blocks[-1].append(child)
        elif _size([child]):
            blocks.append([child])
    if len(blocks) == 1 and (below := _children(blocks[0][0])):
        below[-1].extend(blocks[0][1:])
        return below
    return blocks


def _size(modules: list[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


class BackboneBuilder(MLPBuilder):
    """Builds dense hidden layers on the features of a trained network."""

    source = "dense layers on the features of a trained network, see backbone; the input is adapted to it"
    network_class = BackboneNetwork

    def __init__(self, config: NetworkConfig, generator: torch.Generator, keras: bool) -> None:
        super().__init__(config, generator, keras)
        assert config.backbone is not None
        self._loaded: LoadedBackbone = load_backbone(config.backbone)

    @classmethod
    def check(cls, config: NetworkConfig) -> None:
        """Refuses what no network can be built from, and a backbone that is not named or named twice.

        Raises:
            ConfigError: See `NetworkBuilder.check`, `check_backbone`.
        """
        super().check(config)
        if config.backbone is None:
            raise ConfigError("backbone", "must name a trained network for kind='backbone'; got null")
        check_backbone(config.backbone)

    def build(self) -> Network:
        """Returns the network; the backbone is frozen until `set_finetuning`."""
        network = super().build()
        assert isinstance(network, BackboneNetwork)
        network.architecture = self._loaded.architecture
        network.set_finetuning(FinetuneConfig())
        return network

    def body(self) -> tuple[NamedLayers, int]:
        loaded, config = self._loaded, self.config
        shape, mean, std = _inputs_of(loaded, config)
        layers: NamedLayers = [("adapt", InputAdapter(config.input_shape, shape, mean, std))]
        layers.append(("backbone", loaded.module))
        features, is_map = _count_features(loaded.module, shape)
        if is_map:
            layers.append(("pool", nn.AdaptiveAvgPool2d(1)))
        head, features = self.dense_layers(features)
        return [*layers, *head], features


def _inputs_of(
    loaded: LoadedBackbone, config: NetworkConfig
) -> tuple[list[int], list[float] | None, list[float] | None]:
    """Returns the shape of the inputs of the backbone, and the mean and standard deviation of their channels."""
    given: BackboneConfig | None = config.backbone
    assert given is not None
    shape = list(loaded.input_shape or config.input_shape)
    if len(shape) == 3:
        size = [given.image_size] * 2 if given.image_size else shape[1:]
        shape = [given.channels or shape[0], *size]
    return shape, given.mean or loaded.mean, given.std or loaded.std


def _count_features(module: nn.Module, shape: list[int]) -> tuple[int, bool]:
    """Returns the number of features, and whether they are a map.

    Raises:
        ConfigError: The module does not take the shape, or gives neither a vector nor a map.
    """
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(torch.zeros(2, *shape))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError("backbone", f"must take inputs of shape {shape}; it raised {reason}") from None
    finally:
        module.train(was_training)
    found = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or outputs.ndim not in (2, 4) or len(outputs) != 2:
        raise ConfigError(
            "backbone.cut",
            f"must give a vector (batch, features) or a map (batch, channels, height, width); gives {found}",
        )
    return outputs.shape[1], outputs.ndim == 4
