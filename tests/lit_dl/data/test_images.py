from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import lit_dl
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.data.batches import Minibatches
from lit_dl.data.datasets import DatasetName
from lit_dl.data.idx import read_idx_pair
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import ConfigError, DataError
from lit_dl.modules.classifier import Classifier


def in_epoch(data: ImageDataModule, epoch: int, module: object = None) -> ImageDataModule:
    """As a Trainer leaves it in `epoch`, counted from 1."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(
        current_epoch=epoch - 1, lightning_module=module, strategy=strategy, world_size=1, global_rank=0
    )  # type: ignore[assignment]
    return data


def small(folder: Path, **values: Any) -> ImageDataModule:
    options = {"dataset": "idx", "batch_size": 20, "validation": 23, "seed": 0, **values}
    data = ImageDataModule(str(folder), **options)
    data.setup("fit")
    return data


def served(batches: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def file_contents(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx_pair(folder, part, False)
    return images.numpy().astype(np.float64), labels.numpy()


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
    assert all(isinstance(item, Minibatches) for item in several)
    assert [len(item.batches) for item in several] == [5, 5, 2]
    flattened = [batch for item in several for batch in item.batches]
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
    data = ImageDataModule(scaling="standardize")
    data.setup("fit")
    pixels = read_idx_pair(None, "train", True).images[5000:].numpy()
    shares = np.bincount(pixels.ravel(), minlength=256) / pixels.size
    mean = (shares * np.arange(256)).sum() / 255
    deviation = np.sqrt((shares * (np.arange(256) / 255 - mean) ** 2).sum())
    assert data.scale.mean == pytest.approx(mean, rel=1e-12)
    assert data.scale.std == pytest.approx(deviation, rel=1e-12)
    assert (len(data.train_rows), len(data.validation_rows)) == (55_000, 5_000)


# Targets and test sets


@pytest.mark.parametrize("loader", ["train", "val", "test"])
def test_even_is_one_for_even_digits(digits_dir: Path, loader: str) -> None:
    digits = served(getattr(in_epoch(small(digits_dir), 2), f"{loader}_dataloader")())[1]
    evenness = served(getattr(in_epoch(small(digits_dir, target="even"), 2), f"{loader}_dataloader")())[1]
    assert evenness.dtype == torch.int64
    assert evenness.tolist() == [int(digit in (0, 2, 4, 6, 8)) for digit in digits.tolist()]
    assert set(evenness.tolist()) == {0, 1}


def test_the_number_of_classes(tmp_path: Path, digits_dir: Path, write: Callable[..., None]) -> None:
    assert small(digits_dir).num_classes == 10
    assert small(digits_dir, target="even").num_classes == 2
    write(tmp_path, "train", np.zeros((6, 2, 2)), np.array([0, 3, 12, 3, 0, 1]))
    assert small(tmp_path, batch_size=1, validation=1).num_classes == 13


@pytest.mark.parametrize("scaling", ["unit", "standardize"])
def test_a_second_test_set_has_the_same_digits_with_raw_pixels(digits_dir: Path, scaling: str) -> None:
    data = small(digits_dir, scaling=scaling, test_unscaled=True)
    pixels, numbers = file_contents(digits_dir, "t10k")
    scaled, unscaled = data.test_dataloader()
    assert data.test_sets == ["test", "test_unscaled"]
    assert np.array_equal(served(unscaled)[0].numpy(), pixels)
    assert np.array_equal(served(unscaled)[1].numpy(), numbers)
    alone = small(digits_dir, scaling=scaling)
    assert alone.test_sets == ["test"]
    for same in (scaled, data.predict_dataloader()):
        assert torch.equal(served(same)[0], served(alone.test_dataloader())[0])
        assert torch.equal(served(same)[1], served(unscaled)[1])


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
        (
            {"dataset": "kmnits"},
            f"dataset: 'kmnits' is not one of {', '.join(get_args(DatasetName))}; did you mean 'kmnist'?",
        ),
        ({"target": "odd"}, "target: must be class or even; got 'odd'"),
        (
            {"target": "even", "dataset": "fashion_mnist"},
            "target: must be class where dataset is fashion_mnist; even needs digits (mnist, idx, emnist_digits,"
            " emnist_mnist)",
        ),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ImageDataModule(**values)
    assert str(caught.value) == message


def test_a_batch_larger_than_the_training_split(digits_dir: Path) -> None:
    small(digits_dir, batch_size=230)
    with pytest.raises(ConfigError, match=r"^batch_size: must be at most the training split of 230; got 231$"):
        small(digits_dir, batch_size=231)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, digits_dir: Path) -> None:
    monkeypatch.setenv("HOME", str(digits_dir.parent))
    assert len(small(Path("~") / digits_dir.name).train_rows) == 230


@pytest.mark.parametrize("classes", [None, [5, 6, 7, 8, 9], [3, 1]])
def test_outputs_and_input_shape_follow_the_data_by_a_link(
    classes: list[int] | None, config: Callable[..., dict[str, Any]]
) -> None:
    link = {"data.num_classes": "model.network.outputs", "data.shape": "model.network.input_shape"}
    given = config(data__classes=classes, link=link)
    del given["model"]["network"]["input_shape"]
    run = build_run(parse_config(given))
    run.check()
    assert isinstance(run.module, Classifier)
    assert run.module.network_config.outputs == len(classes or range(10))
    assert run.module.network_config.input_shape == [1, 8, 8]
    run.fit()


def test_the_name_of_before() -> None:
    assert lit_dl.MNISTDataModule is ImageDataModule


def test_test_labels_beyond_those_to_train_on(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path, "train", np.zeros((6, 2, 2)), np.array([0, 3, 2, 3, 0, 1]))
    write(tmp_path, "t10k", np.zeros((2, 2, 2)), np.array([1, 4]))
    with pytest.raises(DataError) as caught:
        small(tmp_path, batch_size=1, validation=1)
    assert str(caught.value) == f"{tmp_path}: must have test labels below 4, as the training labels are; has 4"
