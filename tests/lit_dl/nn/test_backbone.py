"""A trained network below new layers: its weights, its blocks, and what is trained in which epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_dl import Classifier
from lit_dl.errors import ConfigError
from lit_dl.nn.backbone import BackboneNetwork


class Encoder(nn.Module):
    """A user's own network."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.late = nn.Conv2d(4, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.late(self.norm(self.conv(x)).relu())
        return out


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a Classifier of 784-300-100-5."""
    path = tmp_path_factory.mktemp("pretrained") / "best.ckpt"
    save(path, Classifier(network={"width": [300, 100], "outputs": 5}, seed=3))
    return path


def save(path: Path, module: Classifier) -> Path:
    torch.save({"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}, path)
    return path


def on(backbone: dict[str, Any], finetune: dict[str, Any] | None = None, **network: Any) -> Classifier:
    values = {"kind": "backbone", "backbone": backbone, **network}
    return Classifier(network=values, finetune=finetune)  # type: ignore[arg-type]


def network_of(module: Classifier) -> BackboneNetwork:
    assert isinstance(module.network, BackboneNetwork)
    return module.network


def counts(module: nn.Module) -> tuple[int, int, int]:
    """All parameters, those that are trained, and those that are frozen."""
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in module.parameters())
    return total, trained, total - trained


def test_the_published_counts_of_a_transfer(pretrained: Path) -> None:
    module = on({"checkpoint": str(pretrained)}, width=[50], outputs=10)
    assert counts(module) == (271_160, 5_560, 265_600)


def test_the_weights_are_those_of_the_checkpoint(pretrained: Path) -> None:
    old = Classifier(network={"width": [300, 100], "outputs": 5}, seed=3)  # type: ignore[arg-type]
    new, inputs = on({"checkpoint": str(pretrained)}, depth=0), torch.rand(4, 1, 28, 28)
    features = old.network[:-1](inputs)
    assert torch.equal(new.network.get_submodule("backbone")(inputs), features)


def test_a_named_cut(pretrained: Path) -> None:
    module = on({"checkpoint": str(pretrained), "cut": "hidden_1"}, depth=0)
    assert counts(module) == (235_500 + 3_010, 3_010, 235_500)
    with pytest.raises(
        ConfigError, match=r"backbone.cut: 'hiden_2' is not one of flatten, hidden_1, hidden_2; did you"
    ):
        on({"checkpoint": str(pretrained), "cut": "hiden_2"})


def test_a_cnn_gives_the_mean_of_its_map(tmp_path: Path) -> None:
    cnn = Classifier(network={"kind": "cnn", "width": [4, 6], "input_shape": [1, 8, 8]})  # type: ignore[arg-type]
    path = save(tmp_path / "cnn.ckpt", cnn)
    module = on({"checkpoint": str(path), "cut": "pool_2"}, depth=0, input_shape=[1, 8, 8])
    inputs = torch.rand(3, 1, 8, 8)
    features = cnn.network[:4](inputs).mean((2, 3))
    assert torch.allclose(module.network[:-1](inputs), features)


def test_images_are_adapted_to_the_backbone() -> None:
    backbone = {"module": f"{__name__}.Encoder", "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25]}
    module, grey = on(backbone, depth=0), torch.rand(2, 1, 28, 28)
    adapted = module.network.get_submodule("adapt")(grey)
    small = nn.functional.interpolate(grey, size=(12, 12), mode="bilinear", antialias=True)
    assert torch.allclose(adapted, ((small - 0.5) / 0.25).expand(2, 3, 12, 12))


def test_colour_becomes_luminance(pretrained: Path) -> None:
    module, colour = on({"checkpoint": str(pretrained)}, input_shape=[3, 28, 28]), torch.rand(2, 3, 28, 28)
    red, green, blue = colour.unbind(1)
    adapted = module.network.get_submodule("adapt")(colour)
    assert torch.allclose(adapted[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)


@pytest.mark.parametrize("shape", [[784], [2, 28, 28], [1, 1, 28, 28]])
def test_samples_that_cannot_be_adapted(pretrained: Path, shape: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"network.input_shape: must be adaptable to the \[1, 28, 28\]"):
        on({"checkpoint": str(pretrained)}, input_shape=shape)


def test_a_checkpoint_of_a_backbone_loads_without_the_file_of_the_backbone(pretrained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(pretrained.read_bytes())
    module = on({"checkpoint": str(copy)}, width=[7])
    path = save(tmp_path / "tuned.ckpt", module)
    copy.unlink()
    state = torch.load(path, weights_only=True)
    again = Classifier(**state["hyper_parameters"])
    again.load_state_dict(state["state_dict"])
    inputs = torch.rand(3, 1, 28, 28)
    assert torch.equal(again.eval()(inputs), module.eval()(inputs))


def test_a_backbone_on_a_backbone(pretrained: Path, tmp_path: Path) -> None:
    first = save(tmp_path / "first.ckpt", on({"checkpoint": str(pretrained)}, width=[50]))
    second = on({"checkpoint": str(first)}, depth=0, outputs=2)
    assert counts(second) == (265_600 + 5_050 + 102, 102, 265_600 + 5_050)


def test_normalization_by_keras_defaults_stays(tmp_path: Path) -> None:
    network = {"width": [5], "norm": "before", "input_shape": [4]}
    path = save(tmp_path / "keras.ckpt", Classifier(network=network, defaults="keras"))  # type: ignore[arg-type]
    norm = on({"checkpoint": str(path)}, input_shape=[4]).network.get_submodule("backbone.hidden_1.norm")
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


# Blocks and epochs


def test_blocks_are_unfrozen_from_the_last(pretrained: Path) -> None:
    module = on({"checkpoint": str(pretrained)}, {"strategy": "gradual"}, width=[50])
    trained = []
    for epoch in (0, 1, 2):
        module.network.begin_epoch(epoch)
        trained.append(counts(module)[1])
    assert trained == [5_560, 5_560 + 30_100, 271_160]
    module.network.begin_epoch(0)  # as a new run in the same process
    assert counts(module)[1] == 5_560


def test_groups_are_there_from_the_start_and_slower_with_depth(pretrained: Path) -> None:
    module = on({"checkpoint": str(pretrained)}, {"strategy": "lp_ft", "lr_decay": 0.1}, width=[50])
    groups = module.configure_optimizers().param_groups
    assert [group["depth"] for group in groups] == [2, 1, 0]
    assert [sum(p.numel() for p in group["params"]) for group in groups] == [235_500, 30_100, 5_560]
    factors = [module.network.lr_factor(group, 1.0) for group in groups]
    assert factors == pytest.approx([0.01, 0.1, 1.0])


def test_frozen_parts_are_in_evaluation_mode() -> None:
    backbone = {"module": f"{__name__}.Encoder", "channels": 3}
    module, inputs = on(backbone, depth=0, input_shape=[3, 8, 8]), torch.rand(5, 3, 8, 8)
    norm = network_of(module).backbone.norm
    module.train()
    before = norm.running_mean.clone()
    module(inputs)
    assert torch.equal(norm.running_mean, before)
    assert not norm.training
    network_of(module).begin_epoch(0)
    assert not norm.training


@pytest.mark.parametrize("finetune", [{"norm": "running"}, {"strategy": "full"}])
def test_statistics_that_go_on(finetune: dict[str, str]) -> None:
    backbone = {"module": f"{__name__}.Encoder", "channels": 3}
    module = on(backbone, finetune, depth=0, input_shape=[3, 8, 8]).train()
    norm = network_of(module).backbone.norm
    before = norm.running_mean.clone()
    module(torch.rand(5, 3, 8, 8))
    assert not torch.equal(norm.running_mean, before)
    assert norm.weight.requires_grad == (finetune.get("strategy") == "full")


def test_penalties_and_max_norm_leave_frozen_weights_alone(pretrained: Path) -> None:
    module = on({"checkpoint": str(pretrained)}, {"strategy": "lp_ft"}, width=[50])
    assert [list(weight.shape) for weight in module.network.weight_matrices()] == [[50, 100], [10, 50]]
    module.network.begin_epoch(1)
    assert len(module.network.weight_matrices()) == 4


@pytest.mark.parametrize(
    ("name", "size", "blocks"),
    [("resnet18", 64, 5), ("vgg11", 32, 3), ("mobilenet_v3_small", 32, 14), ("densenet121", 32, 8)],
)
def test_models_of_torchvision(name: str, size: int, blocks: int) -> None:
    module = on({"model": name, "image_size": size}, depth=0, outputs=3)
    assert module(torch.rand(2, 1, 28, 28)).shape == (2, 3)
    groups = module.network.parameter_groups()
    assert len(groups) == blocks + 1
    parameters = [parameter for group in groups for parameter in group["params"]]
    assert {id(parameter) for parameter in parameters} == {id(parameter) for parameter in module.parameters()}
    assert len(parameters) == len(list(module.parameters()))


def test_a_layer_within_a_model_of_torchvision() -> None:
    module = on({"model": "resnet18", "image_size": 32, "cut": "layer2"}, depth=0, outputs=3)
    assert module.network.get_submodule("output").in_features == 128
    assert module(torch.rand(2, 1, 28, 28)).shape == (2, 3)


def test_weights_of_a_model_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    state = resnet18(num_classes=1000).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    module = on({"model": "resnet18", "weights": str(tmp_path / "weights.pth"), "image_size": 32}, depth=0)
    assert torch.equal(module.network.get_submodule("backbone.conv1").weight, state["conv1.weight"])


def test_a_submodule_of_the_checkpoint_of_another_module(tmp_path: Path) -> None:
    encoder = Encoder(width=5)
    state = {f"net.encoder.{name}": value for name, value in encoder.state_dict().items()} | {"net.head": torch.ones(1)}
    torch.save({"state_dict": state}, tmp_path / "theirs.ckpt")
    backbone = {"module": f"{__name__}.Encoder", "arguments": {"width": 5}, "prefix": "net.encoder"}
    module = on({**backbone, "checkpoint": str(tmp_path / "theirs.ckpt")}, depth=0, input_shape=[3, 8, 8])
    assert torch.equal(network_of(module).backbone.late.weight, encoder.late.weight)


# Bad input


@pytest.mark.parametrize(
    ("backbone", "error"),
    [
        ({}, "network.backbone: must name a trained network"),
        ({"checkpoint": "a.ckpt", "model": "resnet18"}, "network.backbone: must name one network; got checkpoint and"),
        ({"checkpoint": "nowhere.ckpt"}, "network.backbone.checkpoint: nowhere.ckpt does not exist"),
        ({"model": "resnet81"}, "network.backbone.model: 'resnet81' is not one of .*did you mean 'resnet18'"),
        ({"model": "resnet18", "weights": "IMAGENET"}, "backbone.weights: 'IMAGENET' is not one of IMAGENET1K_V1"),
        ({"model": "resnet18", "cut": "layer9"}, "network.backbone.cut: 'layer9' is not one of .*did you mean 'layer"),
        ({"model": "resnet18", "arguments": {"a": 1}}, "network.backbone.arguments: applies to backbone.module"),
        ({"module": "torch.nn.Fold", "channels": 3}, "network.backbone.arguments: None is refused by torch.nn.Fold"),
        ({"module": "torch.Tensor"}, "network.backbone.module: must be a Module"),
        ({"module": "torch.nn.Identity", "arguments": {}}, None),
    ],
)
def test_backbones_that_cannot_be_built(backbone: dict[str, Any], error: str | None) -> None:
    if error is None:
        on(backbone)
        return
    with pytest.raises(ConfigError, match=error):
        on(backbone)


def test_no_backbone_and_a_backbone_of_another_kind() -> None:
    with pytest.raises(ConfigError, match=r"network.backbone: must name a trained network for kind='backbone'"):
        Classifier(network={"kind": "backbone"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"finetune: is for network.kind='backbone', not for 'mlp'"):
        Classifier(finetune={"strategy": "full"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"network.backbone: is for kind='backbone', not for 'mlp'"):
        Classifier(network={"backbone": {"model": "resnet18"}})  # type: ignore[arg-type]


def test_a_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv.weight": torch.ones(1), "extra": torch.ones(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError) as caught:
        on({"module": f"{__name__}.Encoder", "channels": 3, "checkpoint": str(tmp_path / "other.ckpt")})
    text = str(caught.value)
    assert "missing are conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var and 3 more" in text
    assert "too many are extra" in text
    assert "of another shape are conv.weight [4, 3, 3, 3] (file: [1])" in text


def test_a_file_that_needs_unpickling_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Path("x")}, tmp_path / "pickled.ckpt")
    with pytest.raises(ConfigError, match=r"does not load with weights_only=True .*any code; save it with torch.save"):
        on({"module": f"{__name__}.Encoder", "checkpoint": str(tmp_path / "pickled.ckpt")})


def test_another_file_than_the_config_was_written_for(pretrained: Path) -> None:
    with pytest.raises(ConfigError, match=r"backbone.sha256: .* is another file than this config was written for"):
        on({"checkpoint": str(pretrained), "sha256": "0" * 64})
