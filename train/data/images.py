"""Labelled images held in memory.

Shapes: N images, H height, W width, C channels.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] with labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A data set of labelled images in three splits, none of which shares an image with another.

    Attributes:
        classes: names, in the order of the labels.
        train, val, test: the splits.
    """

    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split

    def __post_init__(self):
        """Checks what a damaged or mislabelled set gets wrong.

        Raises:
            ValueError: an empty split, or labels outside the classes.
        """
        for name in SPLITS:
            split = getattr(self, name)
            if len(split) == 0:
                raise ValueError(f"the {name} split holds no images")
            if len(split.images) != len(split.labels):
                raise ValueError(f"the {name} split holds {len(split.images)} images and {len(split.labels)} labels")
            wrong = (split.labels < 0) | (split.labels >= len(self.classes))
            if wrong.any():
                first = int(np.flatnonzero(wrong)[0])
                raise ValueError(
                    f"the {name} split holds {int(wrong.sum())} labels outside 0..{len(self.classes) - 1}, "
                    f"the first {int(split.labels[first])} at image {first}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.train.images.shape[1:]

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [C] of the training pixels, scaled to 0..1; 1 for a channel that never varies."""
        pixels = self.train.images.reshape(-1, self.shape[-1]) / 255.0
        std = pixels.std(0)
        return pixels.mean(0).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def resize(image: np.ndarray, size: int) -> np.ndarray:  # [H, W] or [H, W, 3] uint8 -> [size, size, C]
    """Resizes an image bilinearly."""
    resized = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return resized.reshape(size, size, -1)


def stratified_split(labels: np.ndarray, shares: tuple[float, ...], seed: int = 0) -> list[np.ndarray]:
    """Deals the examples of each class into parts of the given shares.

    Args:
        labels: [N].
        shares: of each part; they sum to 1.
        seed: of the shuffle, from a generator whose stream NumPy keeps for ever.

    Returns:
        The indices of each part, sorted.
    """
    random = np.random.RandomState(seed)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(shares) * len(members)).astype(int)
        for part, piece in zip(parts, np.split(members, ends[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From pixels 0..255 to what a model is trained on.

    Attributes:
        mean, std: of each channel [C], of pixels scaled to 0..1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: jax.Array) -> jax.Array:  # [N, H, W, C] -> [N, H, W, C]
        """Returns images of mean 0 and standard deviation 1."""
        return self.normalize(images.astype(jnp.float32) / 255)

    def normalize(self, images: jax.Array) -> jax.Array:  # [N, H, W, C] -> [N, H, W, C]
        """The same for images already scaled to 0..1."""
        return (images - jnp.array(self.mean)) / jnp.array(self.std)


def read_image(path: Path, channels: int, size: int) -> np.ndarray:  # [size, size, channels]
    """Reads an image file as the training images were: grey or RGB, resized bilinearly.

    Raises:
        ValueError: the file is no image that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            return resize(np.asarray(image.convert("L" if channels == 1 else "RGB")), size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
