"""Loads trained networks: checkpoints of ours, torchvision's models, and modules of anyone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_dl.config.classes import import_factory
from lit_dl.errors import ConfigError, key_prefix, unknown_name
from lit_dl.files import expand_path, sha256_of
from lit_dl.nn.backbone_config import BackboneConfig
from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.norms import norm_options

_SHOWN = 5  # keys of each kind in an error


@dataclass(frozen=True)
class LoadedBackbone:
    """A trained network up to its features, and what its inputs must be.

    Args:
        module: Maps inputs (batch, *input_shape) float32 to features.
        input_shape: Shape of a sample. `None`: unknown; that of the data.
        mean: Mean of each channel that the inputs were normalized with. `None`: not at all.
        std: Standard deviation, likewise.
        architecture: Of a network of ours: its config.
    """

    module: nn.Module
    input_shape: list[int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    architecture: dict[str, Any] | None = field(default=None, repr=False)


def load_backbone(config: BackboneConfig) -> LoadedBackbone:
    """Returns the trained network of a config, with its weights, cut off after the layer of its features.

    Raises:
        ConfigError: A file that is missing, damaged, of another network or not the one of `sha256`; an unknown model,
            class or layer.
    """
    with key_prefix("backbone"):
        if config.model is not None:
            return _torchvision_model(config)
        if config.module is not None:
            return _foreign_module(config)
        return _own_network(config)


# A network of ours


def _own_network(config: BackboneConfig) -> LoadedBackbone:
    from lit_dl.nn.networks import build_network  # a backbone is one of its kinds

    state: Mapping[str, Any] | None = None
    architecture = config.network
    if config.checkpoint is not None:
        checkpoint = _read(config, "checkpoint")
        given = checkpoint.get("hyper_parameters") or {}
        architecture = _explicit(given.get("network"), given.get("defaults") == "keras")
        if not isinstance(architecture, Mapping):
            raise ConfigError(
                "checkpoint",
                f"must be of a lit_dl.Classifier or Regressor; {config.checkpoint} has no network among its "
                "hyperparameters; give backbone.module for the module of another",
            )
        state = _below(checkpoint.get("state_dict") or {}, "network")
    network_config = NetworkConfig(**architecture)  # type: ignore[arg-type]
    network = build_network(network_config, torch.Generator().manual_seed(0))
    if state is not None:
        _load(network, state, "checkpoint", str(config.checkpoint))
    module = _cut_sequence(network, config.cut)
    return LoadedBackbone(module, list(network_config.input_shape), architecture=dict(architecture or {}))


def _explicit(network: Any, keras: bool) -> Any:
    """Returns the network of hyperparameters with those options of its norm that were the defaults of Keras."""
    if not keras or not isinstance(network, Mapping) or network.get("norm") == "none":
        return network
    own = NetworkConfig(**network)
    return {**network, **norm_options(own.norm_type, own.norm_options, keras=True)}


def _cut_sequence(network: Network, cut: str | None) -> nn.Module:
    """Returns the layers of a network of ours up to a named one; the last before the output by default."""
    names = [name for name, _ in network.named_children()]
    names = names[: names.index("output")]
    if cut is not None and cut not in names:
        raise unknown_name("cut", cut, names)
    kept = names[: names.index(cut) + 1] if cut is not None else names
    return nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in kept))


# Models of torchvision


def _torchvision_model(config: BackboneConfig) -> LoadedBackbone:
    from torchvision import models  # type: ignore[import-untyped]  # 1.5 s

    assert config.model is not None
    names = models.list_models(module=models)
    if config.model not in names:
        raise unknown_name("model", config.model, names)
    weights = config.weights
    is_file = weights is not None and ("/" in weights or Path(weights).suffix != "")
    enum = models.get_model_weights(config.model)
    if weights is not None and not is_file and weights not in ("DEFAULT", *enum.__members__):
        raise unknown_name("weights", weights, [*enum.__members__, "a path"])
    module = _download(models, config) if weights is not None and not is_file else models.get_model(config.model)
    if is_file:
        state = _read(config, "weights")
        _load(module, state, "weights", str(weights))
    transforms = (enum.DEFAULT if weights is None or is_file else enum[_name(weights, enum)]).transforms()
    side = int(transforms.crop_size[0])
    module = _features_of(module, config.cut)
    return LoadedBackbone(module, [3, side, side], list(transforms.mean), list(transforms.std))


def _name(weights: str | None, enum: Any) -> str:
    return str(enum.DEFAULT.name) if weights in (None, "DEFAULT") else str(weights)


def _download(models: Any, config: BackboneConfig) -> nn.Module:
    try:
        module: nn.Module = models.get_model(config.model, weights=config.weights)
    except Exception as error:  # of the network, or of a damaged file
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(
            "weights",
            f"{config.weights} of {config.model} cannot be downloaded ({reason}); "
            "give the path of a file with the state dict",
        ) from None
    return module


def _features_of(module: nn.Module, cut: str | None) -> nn.Module:
    """Returns a module up to a named layer; by default without its last linear layer."""
    if cut is not None:
        return _cut_graph(module, cut)
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ConfigError("cut", "must name a layer; the model has no linear layer at its end")
    owner, _, name = linear[-1].rpartition(".")
    setattr(module.get_submodule(owner), name, nn.Identity())
    return module


def _cut_graph(module: nn.Module, cut: str) -> nn.Module:
    from torchvision.models.feature_extraction import (  # type: ignore[import-untyped]
        create_feature_extractor,
        get_graph_node_names,
    )

    names = [name for name in get_graph_node_names(module)[1] if name != "x"]
    # A layer of layers gives the output of its last one.
    parts = [name for name, _ in module.named_modules() if any(node.startswith(f"{name}.") for node in names)]
    known = dict.fromkeys([*parts, *names])
    if cut not in known:
        raise unknown_name("cut", cut, known)
    return _Single(create_feature_extractor(module, {cut: "features"}))


class _Single(nn.Sequential):
    """A feature extractor of one layer; its output is the tensor, not a dict."""

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self[0](inputs)["features"]
        return features


# Modules of others


def _foreign_module(config: BackboneConfig) -> LoadedBackbone:
    assert config.module is not None
    factory, _ = import_factory("module", config.module, nn.Module)
    try:
        module: nn.Module = factory(**(config.arguments or {}))
    except TypeError as error:
        raise ConfigError("arguments", f"{config.arguments!r} is refused by {config.module}: {error}") from None
    if config.checkpoint is not None:
        content = _read(config, "checkpoint")
        state = content["state_dict"] if isinstance(content.get("state_dict"), Mapping) else content
        _load(module, _below(state, config.prefix or ""), "checkpoint", config.checkpoint)
    return LoadedBackbone(module if config.cut is None else _cut_graph(module, config.cut))


# Files


def _read(config: BackboneConfig, key: str) -> dict[str, Any]:
    """Returns what a file of weights holds, if it is the one that the config expects."""
    path = Path(expand_path(getattr(config, key)))
    if not path.is_file():
        raise ConfigError(key, f"{path} does not exist")
    if config.sha256 is not None and (found := sha256_of(path)) != config.sha256:
        raise ConfigError(
            "sha256", f"{path} is another file than this config was written for: expected {config.sha256}, got {found}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            key,
            f"{path} does not load with weights_only=True ({reason[:200]}); to load it otherwise could run any code; "
            "save it with torch.save(module.state_dict(), path)",
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(key, f"{path} must hold a state dict; holds {type(content).__name__}")
    return content


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the entries of a state dict below a prefix, without it and without torch.compile's wrapper."""
    clean = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    if not prefix:
        return clean
    return {name[len(prefix) + 1 :]: value for name, value in clean.items() if name.startswith(f"{prefix}.")}


def _load(module: nn.Module, state: Mapping[str, Any], key: str, path: str) -> None:
    """Loads a state dict into a module that it fits exactly.

    Raises:
        ConfigError: A key is missing or too many, or has another shape; the first few of each.
    """
    own = module.state_dict()
    shapes = {
        name: f"{name} {list(own[name].shape)} (file: {list(state[name].shape)})"
        for name in own
        if name in state and isinstance(state[name], Tensor) and state[name].shape != own[name].shape
    }
    kinds = {
        "missing": [name for name in own if name not in state],
        "too many": [name for name in state if name not in own],
        "of another shape": list(shapes.values()),
    }
    problems = [f"{kind} are {_listed(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise ConfigError(key, f"{path} is of another network: {'; '.join(problems)}")
    module.load_state_dict(state)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
