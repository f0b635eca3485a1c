"""MNIST and the sets published in its format: four IDX files, gzipped or not.

http://yann.lecun.com/exdb/mnist/, https://github.com/zalandoresearch/fashion-mnist
"""

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from train.data.images import ImageSet, Split, resize, stratified_split

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load(directory: Path | None, image_size: int, *, classes: tuple[str, ...]) -> ImageSet:
    """Returns the published training set, a stratified tenth of it as validation, and the published test set.

    Raises:
        ValueError: no directory was given, a file is damaged, or there are more or fewer labels than images.
        FileNotFoundError: a file is not in the directory.
    """
    if directory is None:
        raise ValueError("this data set needs --data-dir, the directory of its *-ubyte or *-ubyte.gz files")
    train, test = (_read_split(directory, part, image_size) for part in ("train", "t10k"))
    kept, held_out = stratified_split(train.labels, (0.9, 0.1))
    pick = lambda indices: Split(train.images[indices], train.labels[indices])
    return ImageSet(classes, pick(kept), pick(held_out), test)


def _read_split(directory: Path, part: str, image_size: int) -> Split:
    files = [_find(directory, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = (read_idx(file, axes) for file, axes in zip(files, (3, 1), strict=True))
    if len(images) != len(labels):
        raise ValueError(f"{files[0]} holds {len(images)} images, {files[1]} holds {len(labels)} labels")
    return Split(np.stack([resize(image, image_size) for image in images]), labels.astype(np.int32))


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(f"--data-dir {directory} holds neither {name} nor {name}.gz")


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes.

    Args:
        path: gzipped if its name ends in `.gz`.
        axes: how many the array has.

    Raises:
        ValueError: the file is none such, or shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes([0, 0, 8, axes]):
        raise ValueError(f"{path} is no IDX file of unsigned bytes with {axes} axes: it begins {content[:4].hex()}")
    shape = np.frombuffer(content, ">u4", axes, offset=4).astype(int)
    if 0 in shape:
        raise ValueError(f"{path} holds nothing: its header says {tuple(map(int, shape))}")
    if len(content) - header != np.prod(shape):
        raise ValueError(
            f"{path} should hold {tuple(map(int, shape))} bytes after its header, it holds {len(content) - header}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


load_mnist = partial(load, classes=tuple("0123456789"))
load_fashion_mnist = partial(load, classes=FASHION)
