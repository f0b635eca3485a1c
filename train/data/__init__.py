"""Data sets, one file per kind; `load_images` finds them by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jaxvision.registry import unknown_name
from train.data import digits, idx
from train.data.images import ImageSet

IMAGE_SETS: Mapping[str, Callable[[Path | None, int], ImageSet]] = {
    "digits": digits.load,
    "mnist": idx.load_mnist,
    "fashion_mnist": idx.load_fashion_mnist,
}


def load_images(name: str, directory: Path | None, image_size: int) -> ImageSet:
    """Loads a set of labelled images.

    Args:
        name: one of `IMAGE_SETS`.
        directory: where its files are; None for a set that needs none.
        image_size: height and width that its images are resized to.

    Raises:
        ValueError: no set has that name (the message suggests the nearest), or its files are not as they should be.
        OSError: a file cannot be read.
    """
    if name not in IMAGE_SETS:
        raise ValueError(unknown_name("data set", name, IMAGE_SETS))
    if image_size < 1:
        raise ValueError(f"--image-size must be 1 or more, got {image_size}")
    try:
        return IMAGE_SETS[name](directory, image_size)
    except ValueError as error:
        where = f" --data-dir {directory}" if directory else ""
        raise ValueError(f"--data {name}{where}: {error}") from error
