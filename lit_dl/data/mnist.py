"""The name that `ImageDataModule` had when it knew MNIST and sets in its format alone."""

from lit_dl.data.images import ImageDataModule as MNISTDataModule

__all__ = ["MNISTDataModule"]
