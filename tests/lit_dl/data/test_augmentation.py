"""Augmentation of training images: random for each, and the same again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.overlay import overlay
from lit_dl.data.augmentation import Augmentation
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import ConfigError

MakeConfig = Callable[..., dict[str, Any]]
AFFINE = {"class_path": "torchvision.transforms.v2.RandomAffine", "init_args": {"degrees": 30, "translate": [0.2, 0.2]}}
CPU = torch.device("cpu")


class Drawing(v2.Transform):
    """Someone's transform, which draws from all generators."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        numbers = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.full_like(inpt, int(50 * sum(numbers)))


TRANSFORMS = {
    "batched": [v2.RandomRotation(180), v2.GaussianNoise()],
    "image by image": [v2.ColorJitter(brightness=0.9)],
    "someone's": [Drawing()],
}


def module(folder: Path, augment: list[v2.Transform] | None, epoch: int = 1, **options: Any) -> ImageDataModule:
    """A data module as a Trainer leaves it in an epoch."""
    steps, rank, ranks = options.pop("steps", 1), options.pop("rank", 0), options.pop("ranks", 1)
    values = {"dataset": "idx", "batch_size": 20, "validation": 23, "seed": 0, "scaling": "none", **options}
    data = ImageDataModule(str(folder), augment=augment, **values)
    data.setup("fit")
    data.trainer = SimpleNamespace(
        current_epoch=epoch - 1,
        lightning_module=SimpleNamespace(steps_per_execution=steps),
        strategy=SimpleNamespace(root_device=CPU),
        world_size=ranks,
        global_rank=rank,
    )  # type: ignore[assignment]
    return data


def served(loader: Any) -> list[Tensor]:
    """The inputs of every minibatch."""
    return [inputs for item in loader for inputs, _ in getattr(item, "batches", [item])]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_image_is_a_function_of_seed_epoch_and_place(name: str, digits_dir: Path) -> None:
    def epoch(number: int, **options: Any) -> Tensor:
        return torch.cat(served(module(digits_dir, TRANSFORMS[name], number, **options).train_dataloader()))

    first = epoch(3)
    torch.manual_seed(99)
    random.seed(5)
    assert torch.equal(epoch(3), first)
    assert torch.equal(epoch(3, steps=4), first)
    assert not torch.equal(epoch(4), first)
    assert not torch.equal(epoch(3, seed=1), first)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_devices_together_see_what_one_sees(name: str, digits_dir: Path) -> None:
    def batches(**options: Any) -> list[Tensor]:
        return served(module(digits_dir, TRANSFORMS[name], 2, batch_size=13, **options).train_dataloader())

    parts = [batches(rank=rank, ranks=2, steps=3) for rank in range(2)]
    for number, whole in enumerate(batches()):
        for rank in range(2):
            assert torch.equal(parts[rank][number], whole[rank::2])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_equal_images_of_a_minibatch_become_different_ones(name: str) -> None:
    images = torch.randint(0, 256, (1, 1, 9, 9), dtype=torch.uint8).expand(8, -1, -1, -1)
    changed = Augmentation(TRANSFORMS[name], 0)(images, 1, [(0, 4), (1, 4)])
    assert len({image.numpy().tobytes() for image in changed}) >= 7


def test_generators_outside_go_on_as_before(digits_dir: Path) -> None:
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    served(module(digits_dir, [*TRANSFORMS["batched"], Drawing()]).train_dataloader())
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[union-attr]


def test_training_images_alone_are_changed(digits_dir: Path) -> None:
    plain, changed = module(digits_dir, None), module(digits_dir, [v2.RandomInvert(1.0)])
    for split in ("val", "test", "predict"):
        ours, theirs = (served(getattr(data, f"{split}_dataloader")()) for data in (changed, plain))
        assert all(map(torch.equal, ours, theirs))
    ours, theirs = (served(data.train_dataloader()) for data in (changed, plain))
    assert all(torch.equal(one, 255 - other) for one, other in zip(ours, theirs, strict=True))


def test_pixels_are_scaled_after_they_are_changed(digits_dir: Path) -> None:
    unit, raw = (
        served(module(digits_dir, TRANSFORMS["batched"], scaling=scaling).train_dataloader())
        for scaling in ("unit", "none")
    )
    torch.testing.assert_close(torch.cat(unit) * 255, torch.cat(raw))
    assert torch.equal(torch.cat(raw), torch.cat(raw).round())


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (v2.Normalize([0.5], [0.5]), "must take uint8 images; Normalize fails on those of shape [1, 8, 8] (TypeError"),
        (v2.CutMix(num_classes=10), "must take uint8 images; CutMix fails on those of shape [1, 8, 8] (ValueError"),
        (v2.RandomErasing(p=1.0, value=[1.0, 2.0]), "must take uint8 images; RandomErasing fails on those of shape"),
        (v2.RandomCrop(6), "must keep uint8 images of shape [1, 8, 8]; RandomCrop makes uint8 of [1, 6, 6]"),
        (v2.RandomRotation([45, 45], expand=True), "must keep uint8 images of shape [1, 8, 8]; RandomRotation makes"),
        (v2.ToDtype(torch.float32), "must keep uint8 images of shape [1, 8, 8]; ToDtype makes float32 of [1, 8, 8]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_keep_images_is_refused(transform: v2.Transform, says: str, digits_dir: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        module(digits_dir, [v2.RandomInvert(), transform])
    assert str(caught.value).startswith(f"augment.1: {says}")


# In the config


def test_a_transform_is_a_class_of_the_config_which_reads_back(config: MakeConfig) -> None:
    given = config(data__augment=[AFFINE, "RandomHorizontalFlip"])
    read = parse_config(given)
    assert [item["class_path"] for item in read["data"]["augment"]] == [
        AFFINE["class_path"],
        "torchvision.transforms.v2.RandomHorizontalFlip",
    ]
    assert parse_config(read) == read
    data = build_run(read).data
    assert isinstance(data, ImageDataModule)
    assert data.augmentation is not None
    affine, flip = data.augmentation.transforms
    assert isinstance(affine, v2.RandomAffine)
    assert (affine.degrees, affine.translate) == ([-30.0, 30.0], [0.2, 0.2])
    assert isinstance(flip, v2.RandomHorizontalFlip)


def test_arguments_of_a_transform_are_keys_that_can_be_swept(config: MakeConfig) -> None:
    given = overlay(
        config(data__augment=[AFFINE]), {"data.augment.RandomAffine.degrees": 5.5, "data.augment.0.shear": 3}
    )
    arguments = parse_config(given)["data"]["augment"][0]["init_args"]
    assert (arguments["degrees"], arguments["shear"], arguments["translate"]) == (5.5, 3, [0.2, 0.2])


@pytest.mark.parametrize(
    ("augment", "starts", "says"),
    [
        ([{"class_path": "torchvision.transforms.v2.RandomAfine"}], "data.augment", "RandomAfine"),
        ([{**AFFINE, "init_args": {"degres": 3}}], "data.augment.0.init_args.degres: ", "degrees"),
        ([{"class_path": "torch.nn.Linear", "init_args": {"in_features": 3}}], "data.augment", "Transform"),
        (
            [{**AFFINE, "init_args": {"degrees": -3}}],
            "data.augment.0: RandomAffine refuses its arguments (",
            "positive",
        ),
        (5, "data.augment", "5"),
    ],
    ids=["class", "argument", "base", "value", "number"],
)
def test_bad_transforms(augment: Any, starts: str, says: str, config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run(config(data__augment=augment))
    assert str(caught.value).startswith(starts), caught.value
    assert says in str(caught.value)


def test_a_callback_that_refuses_its_arguments_has_its_key(config: MakeConfig) -> None:
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "a", "mode": "up"}}
    with pytest.raises(ConfigError, match=r"^trainer.callbacks.1: EarlyStopping refuses its arguments \(.*up"):
        build_run(config(trainer__callbacks=[{"class_path": "lightning.pytorch.callbacks.Timer"}, stopping]))
