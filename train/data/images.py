"""Labelled images: splits held in memory, sets of splits, and how an image becomes the input of a model.

Shapes: N images, B batch, H height, W width, C channels.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")
SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)
"""Of the names of image files that Pillow reads."""

Order = Callable[[int], np.ndarray]
"""The indices [B] of the images of a step."""
Batch = dict[str, np.ndarray]
"""`{"image": uint8 [B, H, W, C], "label": int32 [B]}`."""


class LabelledImages(Protocol):
    """A split: `Split` holds its images in memory, `FileSplit` decodes them when they are due."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [C] that its pixels, scaled to 0..1, are normalised with."""

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of the steps from `start` to before `stop`."""

    def take(self, indices: np.ndarray) -> Self:
        """Returns the split of some of the images."""

    def joined(self, *others: Self) -> Self:
        """Returns the split of these images and those of other splits."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] with labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.images.shape[1:]

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [C] of the pixels, scaled to 0..1; 1 for a channel that never varies."""
        # In integers: exact, so that a constant channel is known as one, and without the images as float64.
        count = self.images[..., 0].size
        sums = np.einsum("nhwc->c", self.images, dtype=np.int64).tolist()
        squares = np.einsum("nhwc,nhwc->c", self.images, self.images, dtype=np.int64).tolist()
        mean = [total / (255 * count) for total in sums]
        std = [
            math.sqrt(count * square - total**2) / (255 * count) for total, square in zip(sums, squares, strict=True)
        ]
        return np.array(mean, np.float32), np.array([value or 1 for value in std], np.float32)

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of the steps from `start` to before `stop`."""
        for indices in map(order, range(start, stop)):
            yield {"image": self.images[indices], "label": self.labels[indices]}

    def take(self, indices: np.ndarray) -> "Split":
        """Returns the split of some of the images."""
        return Split(self.images[indices], self.labels[indices])

    def joined(self, *others: "Split") -> "Split":
        """Returns the split of these images and those of other splits."""
        splits = (self, *others)
        return Split(np.concatenate([s.images for s in splits]), np.concatenate([s.labels for s in splits]))


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A data set of labelled images in three splits, none of which shares an image with another.

    Attributes:
        classes: names, in the order of the labels.
        train, val, test: the splits.
    """

    classes: tuple[str, ...]
    train: LabelledImages
    val: LabelledImages
    test: LabelledImages

    def __post_init__(self):
        """Checks what a damaged or mislabelled set gets wrong.

        Raises:
            ValueError: an empty split, or labels outside the classes.
        """
        for name in SPLITS:
            split = getattr(self, name)
            if len(split) == 0:
                raise ValueError(f"the {name} split holds no images")
            if isinstance(split, Split) and len(split.images) != len(split.labels):
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
        return self.train.shape

    def counts(self) -> dict[str, np.ndarray]:
        """Images of each class [K], by name of the split."""
        return {name: np.bincount(getattr(self, name).labels, minlength=len(self.classes)) for name in SPLITS}

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [C] of the training pixels (see `LabelledImages`)."""
        return self.train.statistics()

    def cut(self, shares: tuple[float, ...]) -> "ImageSet":
        """Returns the same images, those of all splits, in stratified splits of other shares.

        Args:
            shares: of train, val and test; or of train and of the rest, of which val and test are halves.

        Raises:
            ValueError: they are not two or three shares above 0 that sum to 1, or too small for an image.
        """
        if len(shares) not in (2, 3) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            expected = "shares of train, val and test (or of train and the rest), which sum to 1"
            raise ValueError(f"--split must be {expected}, got {' '.join(map(str, shares))}")
        first, *rest = shares if len(shares) == 3 else (shares[0], shares[1] / 2, shares[1] / 2)
        whole = self.train.joined(self.val, self.test)
        return ImageSet(self.classes, *map(whole.take, stratified_split(whole.labels, (first, *rest))))


def resize(image: np.ndarray, size: int) -> np.ndarray:  # [H, W] or [H, W, 3] uint8 -> [size, size, C]
    """Resizes an image as `read_image` does."""
    return _square(Image.fromarray(image), size)


def _square(image: Image.Image, size: int) -> np.ndarray:  # [size, size, C]
    """Resizes the shorter side bilinearly, antialiased, and cuts out the middle: torchvision's Resize and CenterCrop.

    Raises:
        ValueError: the image is so long that it would be enlarged beyond what Pillow takes for a bomb.
    """
    shorter = min(image.size)
    width, height = (int(size * side / shorter) for side in image.size)
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.size[0]}x{image.size[1]} pixels would be resized to {width}x{height}")
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(resized).reshape(size, size, -1)


def center_crop(images: jax.Array, size: int) -> jax.Array:  # [B, H, W, C] -> [B, size, size, C]
    """Cuts out the middle of images."""
    top, left = (round((length - size) / 2) for length in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


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
        image_size: height and width of the middle that is cut out.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int

    def __call__(self, images: jax.Array) -> jax.Array:  # [N, H, W, C] -> [N, image_size, image_size, C]
        """Returns the middle of images, with mean 0 and standard deviation 1."""
        return self.normalize(center_crop(images, self.image_size).astype(jnp.float32) / 255)

    def normalize(self, images: jax.Array) -> jax.Array:  # [N, H, W, C] -> [N, H, W, C]
        """The same for whole images already scaled to 0..1."""
        return (images - jnp.array(self.mean)) / jnp.array(self.std)


def find_images(folder: Path) -> list[str]:
    """Returns the image files in a folder and its subfolders, sorted; hidden ones are left out.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError):
        raise error

    walk = os.walk(folder, onerror=fail)
    files = (os.path.join(parent, name) for parent, _, names in walk for name in names if not name.startswith("."))
    return sorted(file for file in files if os.path.splitext(file)[1].lower() in SUFFIXES)


def read_image(path: Path | str, channels: int, size: int) -> np.ndarray:  # [size, size, channels]
    """Reads an image file as the training images were: grey or RGB, the shorter side resized, the middle cut out.

    Raises:
        ValueError: the file is no image that Pillow can read, or larger than Pillow thinks safe.
    """
    try:
        with Image.open(path) as image:
            mode = "L" if channels == 1 else "RGB"
            return _square(image if image.mode == mode else image.convert(mode), size)  # convert would copy
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error
