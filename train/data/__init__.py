"""Data sets, one file per kind; `load_images` finds them by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from jaxvision.registry import unknown_name
from train.data import cifar, digits, idx, image_folder
from train.data.image_files import ReadingConfig
from train.data.images import ImageSet

IMAGE_SETS: Mapping[str, Callable[[Path | None, int], ImageSet]] = {
    "digits": digits.load,
    "mnist": idx.load_mnist,
    "fashion_mnist": idx.load_fashion_mnist,
    "cifar10": cifar.load_cifar10,
    "cifar100": cifar.load_cifar100,
}
"""Those that are held in memory; the name of the other kind is `folder`."""


def load_images(
    name: str,
    directory: Path | None,
    image_size: int,
    reading: ReadingConfig | None = None,
    shares: tuple[float, ...] | None = None,
) -> ImageSet:
    """Loads a set of labelled images.

    Args:
        name: one of `IMAGE_SETS`, or `folder`.
        directory: where its files are; None for a set that needs none.
        image_size: height and width that its images are resized to.
        reading: how images are read that are not held in memory; None for the defaults.
        shares: of the splits that it is cut into anew (see `ImageSet.cut`); None for its own.

    Raises:
        ValueError: no set has that name (the message suggests the nearest), or its files are not as they should be.
        OSError: a file cannot be read.
    """
    sets = {**IMAGE_SETS, "folder": partial(image_folder.load, reading=reading or ReadingConfig())}
    if name not in sets:
        raise ValueError(unknown_name("data set", name, sets))
    if image_size < 1:
        raise ValueError(f"--image-size must be 1 or more, got {image_size}")
    if directory is not None and not directory.is_dir():
        raise FileNotFoundError(f"--data-dir {directory}: there is no such directory")
    try:
        data = sets[name](directory, image_size)
        return data if shares is None else data.cut(shares)
    except ValueError as error:
        where = f" --data-dir {directory}" if directory else ""
        raise ValueError(f"--data {name}{where}: {error}") from error
