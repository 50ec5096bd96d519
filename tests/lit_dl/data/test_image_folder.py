"""Folders of images: what torchvision's ImageFolder finds, decoded once, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import write_folder, write_image
from torchvision import datasets
from torchvision.transforms import v2

from lit_dl.data.image_folder import list_folder, read_folder, read_image
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import ConfigError, DataError

COUNTS = {"ant": 12, "bee": 20, "cow": 8}


def module(folder: Path, **options: Any) -> ImageDataModule:
    values = {"dataset": "folder", "batch_size": 4, "validation": 0.25, "seed": 0, "channels": 1, **options}
    data = ImageDataModule(str(folder), **values)
    data.prepare_data()
    data.setup("fit")
    return data


def contents(data: ImageDataModule) -> dict[str, list[bytes]]:
    """The pictures of each split."""
    images, tests = (data.source.read(part).images for part in ("train", "test"))
    rows = {"train": images[data.train_rows], "val": images[data.validation_rows], "test": tests}
    return {split: [picture.numpy().tobytes() for picture in pictures] for split, pictures in rows.items()}


# What is read


def test_files_and_labels_are_those_of_torchvision(tmp_path: Path) -> None:
    pixels = write_folder(tmp_path, COUNTS)
    write_image(tmp_path / "bee" / "below" / "one.JPEG", pixels["bee/000.png"])
    (tmp_path / "cow" / "readme.txt").write_text("no image")
    theirs = datasets.ImageFolder(str(tmp_path))
    assert list_folder(tmp_path).parts["train"] == theirs.samples
    read = read_folder(tmp_path, None, 1)
    assert read.names == theirs.classes == ["ant", "bee", "cow"]
    assert read.parts["train"].labels.tolist() == theirs.targets
    assert read.parts["train"].images.dtype == torch.uint8
    for (path, _), image in zip(theirs.samples, read.parts["train"].images, strict=True):
        if path.endswith("png"):
            assert np.array_equal(image[0].numpy(), pixels[str(Path(path).relative_to(tmp_path))])


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "L"), (3, "P"), (1, "RGBA"), (3, "RGBA")])
def test_grey_or_rgb_whatever_the_file_is(channels: int, mode: str, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    write_image(tmp_path / "a.png", grey, mode)
    image = read_image(tmp_path / "a.png", None, channels)
    assert image.shape == (channels, 5, 7)
    assert np.abs(image.numpy().astype(int) - grey).max() <= 1


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.array([[0, 257 * 9, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", None, 1).tolist() == [[[0, 9, 255]]]


@pytest.mark.parametrize("size", [(6, 6), (4, 12), (20, 10)])
def test_an_image_is_resized_to_cover_and_cut_at_the_center(size: tuple[int, int], tmp_path: Path) -> None:
    picture = v2.functional.resize(torch.randint(0, 256, (1, 3, 4), dtype=torch.uint8), [30, 40])[0]
    write_image(tmp_path / "a.png", picture.numpy())
    factor = max(size[0] / 30, size[1] / 40)
    covering = v2.functional.resize(picture[None], [round(30 * factor), round(40 * factor)], antialias=True)
    assert torch.equal(read_image(tmp_path / "a.png", size, 1), v2.functional.center_crop(covering, list(size)))


def test_each_process_decodes_once(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    first = module(tmp_path).source.read("train").images
    assert module(tmp_path, batch_size=5, seed=1).source.read("train").images is first


# Splits


def test_one_folder_is_split_into_three_with_the_classes_in_proportion(tmp_path: Path) -> None:
    write_folder(tmp_path, {name: 4 * count for name, count in COUNTS.items()})
    data, other = module(tmp_path), module(tmp_path, seed=1)
    splits = contents(data)
    assert {split: len(pictures) for split, pictures in splits.items()} == {"train": 90, "val": 30, "test": 40}
    assert len({picture for pictures in splits.values() for picture in pictures}) == 160
    labels, test_labels = (data.source.read(part).labels for part in ("train", "test"))
    for rows, total in ((labels[data.train_rows], 90), (labels[data.validation_rows], 30), (test_labels, 40)):
        shares = rows.bincount().double() / total
        torch.testing.assert_close(shares, torch.tensor([0.3, 0.5, 0.2]).double(), atol=0.06, rtol=0)
    assert contents(other)["test"] == splits["test"]
    assert contents(other)["val"] != splits["val"]


@pytest.mark.parametrize("parts", [["train"], ["train", "val"], ["train", "test"], ["train", "val", "test"]], ids=str)
def test_parts_that_have_a_folder_are_it(parts: list[str], tmp_path: Path) -> None:
    own = {part: write_folder(tmp_path / part, COUNTS, seed=seed) for seed, part in enumerate(parts)}
    splits = contents(module(tmp_path))
    for part in ("val", "test"):
        if part in parts:
            assert splits[part] == [own[part][name].tobytes() for name in sorted(own[part])]
        else:
            assert len(splits[part]) in (8, 10)
    drawn = [picture for part in ("train", "val", "test") if part not in parts[1:] for picture in splits[part]]
    assert sorted(drawn) == sorted(pixels.tobytes() for pixels in own["train"].values())


def test_classes_and_few_labels_of_a_folder(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_folder(tmp_path / part, COUNTS)
    data = module(tmp_path, classes=["cow", "ant"], train_samples=5)
    assert (data.num_classes, data.class_names) == (2, ["cow", "ant"])
    labels = data.source.read("train").labels
    assert labels[data.train_rows].bincount().tolist() == [2, 3]
    assert labels[data.validation_rows].tolist() == [1] * 12 + [0] * 8
    assert data.source.read("test").labels.tolist() == [1] * 12 + [0] * 8


def test_names_and_shape_need_no_image(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    (tmp_path / "ant" / "000.png").write_bytes(b"")
    data = ImageDataModule(str(tmp_path), "folder", image_size=[6, 9])
    assert (data.shape, data.num_classes, data.class_names) == ([3, 6, 9], 3, ["ant", "bee", "cow"])


# Errors


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        module(folder, **options)
    return str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: no such folder; check data.data_dir"


def test_no_class_and_one_class(tmp_path: Path) -> None:
    need = f"{tmp_path}: must have a folder of images for each of two classes or more; has "
    assert refusal(tmp_path) == f"{need}none"
    write_folder(tmp_path, {"ant": 3})
    assert refusal(tmp_path) == f"{need}one, ant"


def test_a_class_without_images(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'empty'}: must have images (.png, .jpg, .jpeg); has none"


@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "half"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_that_cannot_be_decoded_is_named(part: str, content: bytes | None, tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_folder(tmp_path / name, COUNTS)
    path = tmp_path / part / "bee" / "004.png"
    path.write_bytes(path.read_bytes()[:50] if content is None else content)
    message = refusal(tmp_path)
    assert message.startswith(f"{path}: cannot be decoded as an image (")
    assert message.endswith("); damaged?")
    assert ".cpp" not in message


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    write_image(tmp_path / "bee" / "004.png", np.zeros((8, 9), np.uint8))
    need = "must have the height and width of the first image, 8 x 8; is 8 x 9; set data.image_size"
    assert refusal(tmp_path) == f"{tmp_path / 'bee' / '004.png'}: {need}"
    assert module(tmp_path, image_size=8).shape == [1, 8, 8]


def test_parts_with_other_sizes(tmp_path: Path) -> None:
    for side, part in ((8, "train"), (9, "test")):
        write_folder(tmp_path / part, COUNTS, side)
    need = "must have the height and width of the first image, 8 x 8; is 9 x 9; set data.image_size"
    assert refusal(tmp_path) == f"{tmp_path / 'test'}: {need}"


def test_parts_with_other_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", COUNTS)
    write_folder(tmp_path / "test", {"ant": 2, "cow": 2, "dog": 2})
    need = "must have the classes of train; only one of them has bee, dog"
    assert refusal(tmp_path) == f"{tmp_path / 'test'}: {need}"


def test_parts_without_train(tmp_path: Path) -> None:
    write_folder(tmp_path / "test", COUNTS)
    write_folder(tmp_path / "val", COUNTS)
    assert refusal(tmp_path) == f"{tmp_path}: must have a folder train beside val and test"


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    assert refusal(tmp_path, validation=40) == "validation: must leave some of 40 samples for each split; got 40"
    assert refusal(tmp_path, validation=20) == "validation: must leave some of 20 samples for each split; got 20"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_dir": None, "dataset": "folder"},
         "data_dir: must name the folder of the images where dataset is folder; got null"),
        ({"image_size": 28}, "image_size: must be null where dataset is mnist; it is for folder; got 28"),
        ({"channels": 3}, "channels: must be null where dataset is mnist; it is for folder; got 3"),
        ({"dataset": "folder", "channels": 2}, "channels: must be 1 for grey or 3 for RGB; got 2"),
        ({"dataset": "folder", "image_size": 0},
         "image_size: must be a side of 1 or more, or [height, width]; got 0"),
        ({"dataset": "folder", "image_size": [3]},
         "image_size: must be a side of 1 or more, or [height, width]; got [3]"),
        ({"dataset": "folder", "download": True},
         "download: must be null or false where dataset is folder, which is nowhere; got true"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_do_not_apply(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ImageDataModule(**{"data_dir": "x", **options})
    assert str(caught.value) == message
