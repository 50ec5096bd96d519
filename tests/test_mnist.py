from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_dl.data.batches import Minibatches
from lit_dl.data.idx import read_digits
from lit_dl.data.mnist import MNISTDataModule, split
from lit_dl.errors import ConfigError


def in_epoch(data: MNISTDataModule, epoch: int, module: object = None) -> MNISTDataModule:
    """As a Trainer leaves it in `epoch`, counted from 1."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(current_epoch=epoch - 1, lightning_module=module, strategy=strategy)  # type: ignore[assignment]
    return data


def small(folder: Path, **values: Any) -> MNISTDataModule:
    options = {"dataset": "idx", "batch_size": 20, "validation": 23, "seed": 0, **values}
    data = MNISTDataModule(str(folder), **options)
    data.setup("fit")
    return data


def served(batches: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def file_contents(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_digits(folder, part, False)
    return images.numpy().astype(np.float64), labels.numpy()


# Splits


def test_a_number_holds_out_the_front_as_in_the_published_runs() -> None:
    train, validation = split(60_000, 5000, seed=3)
    assert torch.equal(validation, torch.arange(5000))
    assert torch.equal(train, torch.arange(5000, 60_000))


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 100), (0.25, 250), (0.0014, 1)])
def test_a_fraction_is_drawn_and_covers_every_row_once(fraction: float, held_out: int) -> None:
    train, validation = split(1000, fraction, seed=0)
    assert (len(train), len(validation)) == (1000 - held_out, held_out)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(1000))
    assert validation.tolist() != list(range(held_out))


def test_a_drawn_split_depends_on_its_seed_alone() -> None:
    first = split(1000, 0.1, seed=0)
    torch.manual_seed(5)
    again, other = split(1000, 0.1, seed=0), split(1000, 0.1, seed=1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert set(first[1].tolist()) != set(other[1].tolist())


@pytest.mark.parametrize(("samples", "validation"), [(100, 100), (100, 101), (3, 0.1), (2, 0.9)])
def test_a_split_that_leaves_nothing(samples: int, validation: float) -> None:
    with pytest.raises(ConfigError, match=rf"^validation: must leave some of {samples} samples .*; got {validation}$"):
        split(samples, validation, 0)


# Batches of each split


def test_training_batches_are_the_training_rows_shuffled(digits_dir: Path) -> None:
    images, labels = served(in_epoch(small(digits_dir, scaling="none"), 1).train_dataloader())
    pixels, numbers = file_contents(digits_dir, "train")
    assert len(labels) == 230
    assert not np.array_equal(labels.numpy(), numbers[23:])
    expected = sorted(map(bytes, pixels[23:].astype(np.uint8)))
    assert sorted(map(bytes, images.numpy().astype(np.uint8))) == expected
    by_picture = {bytes(p): n for p, n in zip(pixels.astype(np.uint8), numbers, strict=True)}
    assert [by_picture[bytes(image)] for image in images.numpy().astype(np.uint8)] == labels.tolist()


@pytest.mark.parametrize(("part", "loader"), [("train", "val"), ("t10k", "test"), ("t10k", "predict")])
def test_the_other_splits_are_in_file_order(digits_dir: Path, part: str, loader: str) -> None:
    data = small(digits_dir, scaling="none")
    images, labels = served(getattr(data, f"{loader}_dataloader")())
    pixels, numbers = file_contents(digits_dir, part)
    if loader == "val":
        pixels, numbers = pixels[:23], numbers[:23]
    assert np.array_equal(labels.numpy(), numbers)
    assert np.array_equal(images.numpy(), pixels)


def test_the_order_depends_on_seed_and_epoch_alone(digits_dir: Path) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return served(in_epoch(small(digits_dir, seed=seed), epoch).train_dataloader())[0][:, 0, 0, 0].tolist()

    first = order(0, 3)
    torch.manual_seed(99)
    torch.rand(5)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first


def test_the_seed_of_the_run_is_the_default(digits_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert small(digits_dir, seed=None).seed == 17
    assert small(digits_dir, seed=0).seed == 0


def test_drop_last_applies_to_training_alone(digits_dir: Path) -> None:
    data = in_epoch(small(digits_dir, batch_size=100, drop_last=True), 1)
    assert len(served(data.train_dataloader())[1]) == 200
    assert len(served(data.val_dataloader())[1]) == 23


def test_a_module_may_ask_for_several_minibatches(digits_dir: Path) -> None:
    data = small(digits_dir)
    one = list(in_epoch(data, 1, SimpleNamespace()).train_dataloader())
    several = list(in_epoch(data, 1, SimpleNamespace(steps_per_execution=5)).train_dataloader())
    assert [len(item) for item in several] == [5, 5, 2]
    assert all(isinstance(item, Minibatches) for item in several)
    flattened = [batch for item in several for batch in item]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, flattened, strict=True))


# Scaling


@pytest.mark.parametrize(("scaling", "divisor"), [("unit", 255.0), ("none", 1.0)])
def test_unit_and_none(digits_dir: Path, scaling: str, divisor: float) -> None:
    images, _ = served(small(digits_dir, scaling=scaling).val_dataloader())
    expected = file_contents(digits_dir, "train")[0][:23] / divisor
    np.testing.assert_allclose(images.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("validation", [23, 0.2])
def test_standardize_takes_its_moments_from_the_training_split(
    tmp_path: Path, digits_dir: Path, validation: float
) -> None:
    data = in_epoch(small(digits_dir, scaling="standardize", validation=validation), 1)
    pixels = file_contents(digits_dir, "train")[0] / 255
    own = pixels[data.train_rows.numpy()]
    for loader, raw in (
        ("val", pixels[data.validation_rows.numpy()]),
        ("test", file_contents(digits_dir, "t10k")[0] / 255),
    ):
        images, _ = served(getattr(data, f"{loader}_dataloader")())
        np.testing.assert_allclose(images.numpy(), (raw - own.mean()) / own.std(), rtol=1e-5, atol=1e-5)
    images, _ = served(data.train_dataloader())
    assert float(images.double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(images.double().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_the_moments_of_another_split_are_others(digits_dir: Path) -> None:
    scales = {
        (small(digits_dir, scaling="standardize", validation=validation, seed=seed)).scale
        for validation, seed in ((23, 0), (0.3, 0), (0.3, 1), (50, 0))
    }
    assert len(scales) == 4


def test_standardized_mnist() -> None:
    """The well-known 0.1307 and 0.3081 are of all 60,000; these are of the 55,000 that are trained on."""
    data = MNISTDataModule(scaling="standardize")
    data.setup("fit")
    pixels = read_digits(None, "train", True).images[5000:].numpy()
    shares = np.bincount(pixels.ravel(), minlength=256) / pixels.size
    mean = (shares * np.arange(256)).sum() / 255
    deviation = np.sqrt((shares * (np.arange(256) / 255 - mean) ** 2).sum())
    assert data.scale.mean == pytest.approx(mean, rel=1e-12)
    assert data.scale.deviation == pytest.approx(deviation, rel=1e-12)
    assert (len(data.train_rows), len(data.validation_rows)) == (55_000, 5_000)


# Errors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size: must be 1 or more; got 0"),
        ({"validation": 0}, "validation: must be a number of samples, 1 or more, or a fraction in (0, 1); got 0"),
        ({"validation": -5}, "validation: must be a number of samples, 1 or more, or a fraction in (0, 1); got -5"),
        ({"validation": 1.5}, "validation: must be a number of samples, 1 or more, or a fraction in (0, 1); got 1.5"),
        ({"validation": 1.0}, "validation: must be a number of samples, 1 or more, or a fraction in (0, 1); got 1.0"),
        ({"scaling": "norm"}, "scaling: must be unit, standardize or none; got 'norm'"),
        ({"dataset": "cifar"}, "dataset: must be mnist or idx; got 'cifar'"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MNISTDataModule(**values)
    assert str(caught.value) == message


def test_a_batch_larger_than_the_training_split(digits_dir: Path) -> None:
    small(digits_dir, batch_size=230)
    with pytest.raises(ConfigError, match=r"^batch_size: must be at most the training split of 230; got 231$"):
        small(digits_dir, batch_size=231)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, digits_dir: Path) -> None:
    monkeypatch.setenv("HOME", str(digits_dir.parent))
    assert len(small(Path("~") / digits_dir.name).train_rows) == 230
