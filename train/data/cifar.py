"""CIFAR-10 and CIFAR-100: 60,000 colour photographs of 32x32 pixels in 10 or 100 classes.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html.
Read in the published layouts, the binary one and that of Python pickles; CIFAR-10 also as image files, a folder to a
class. Shapes: N images.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from train.data.images import ImageSet, Split, find_images, read_image, resize, stratified_split
from train.data.python2_pickle import PickleError, read_pickle

PIXELS = 3 * 32 * 32
"""Bytes of an image: channels, rows, columns."""


CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEST_SHARE = 0.1  # of image files without a test folder


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a set as they are published.

    Attributes:
        folder: that its archive holds.
        train, test: files of images, by name.
        names: the file of the class names.
        num_classes: in that file.
        counts: images in each file of train, and in that of test.
        labels: in the binary layout, the bytes before an image, the last of which is its class; in the other, the key.
        names_key: in the layout of pickles, the key of the class names.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    num_classes: int
    counts: tuple[int, int]
    labels: int | str
    names_key: str | None = None


CIFAR10 = (
    Layout(
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        10,
        (10_000, 10_000),
        labels=1,
    ),
    Layout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "batches.meta",
        10,
        (10_000, 10_000),
        labels="labels",
        names_key="label_names",
    ),
)
CIFAR100 = (
    Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 100, (50_000, 10_000), labels=2),
    Layout(
        "cifar-100-python",
        ("train",),
        "test",
        "meta",
        100,
        (50_000, 10_000),
        labels="fine_labels",
        names_key="fine_label_names",
    ),
)


def load(
    directory: Path | None, image_size: int, *, layouts: tuple[Layout, ...], others: tuple[str, ...] = ()
) -> ImageSet:
    """Returns the published training set, a stratified tenth of it as validation, and the published test set.

    Args:
        directory: of the files, or one that holds the published folder of them.
        image_size: height and width that images are resized to.
        layouts: that are looked for, in this order.
        others: what else was looked for, for the error where nothing is there.

    Raises:
        ValueError: no directory was given, or a file is damaged.
        FileNotFoundError: a file is not there.
    """
    if directory is None:
        raise ValueError("this data set needs --data-dir, the directory of its files")
    folder, layout = _find(directory, layouts, others)
    read = read_pickled if layout.names_key else read_binary
    classes = (read_pickled_names if layout.names_key else read_names)(folder / layout.names, layout)
    parts = [read(folder / name, layout, layout.counts[0]) for name in layout.train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    pick = lambda images, labels: Split(_resized(images, image_size), labels)
    kept, held_out = stratified_split(labels, (0.9, 0.1))
    test = read(folder / layout.test, layout, layout.counts[1])
    return ImageSet(classes, pick(images[kept], labels[kept]), pick(images[held_out], labels[held_out]), pick(*test))


def _find(directory: Path, layouts: tuple[Layout, ...], others: tuple[str, ...]) -> tuple[Path, Layout]:
    """Returns the folder that holds a file of images, and its layout; other files may be missing from it."""
    for layout in layouts:
        for folder in (directory, directory / layout.folder):
            if any((folder / name).is_file() for name in (*layout.train, layout.test)):
                return folder, layout
    looked_for = [*(f"{layout.train[0]} (of {layout.folder})" for layout in layouts), *others]
    raise FileNotFoundError(f"--data-dir {directory} holds neither {' nor '.join(looked_for)}")


def _resized(images: np.ndarray, size: int) -> np.ndarray:  # [N, 3, 32, 32] -> [N, size, size, 3]
    return np.stack([resize(image, size) for image in np.ascontiguousarray(images.transpose(0, 2, 3, 1))])


def read_binary(path: Path, layout: Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads records of labels and pixels.

    Returns:
        Images uint8 [N, 3, 32, 32] and labels int32 [N].

    Raises:
        ValueError: the file is longer or shorter than `count` records, or a label is out of range.
    """
    content = path.read_bytes()
    if len(content) != count * (layout.labels + PIXELS):
        raise ValueError(f"{path} should hold {count * (layout.labels + PIXELS)} bytes, it holds {len(content)}")
    records = np.frombuffer(content, np.uint8).reshape(count, -1)
    labels = _checked(records[:, layout.labels - 1].astype(np.int32), path, layout)
    return records[:, layout.labels :].reshape(-1, 3, 32, 32), labels


def read_names(path: Path, layout: Layout) -> tuple[str, ...]:
    """Reads class names, a line each.

    Raises:
        ValueError: there are more or fewer than classes.
    """
    return _checked_names(path.read_text(encoding="ascii", errors="replace").split(), path, layout)


def read_pickled(path: Path, layout: Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads a pickled dictionary of images and labels, as `read_binary` does."""
    content = _unpickle(path)
    images, labels = _entry(content, "data", np.ndarray, path), _entry(content, layout.labels, list, path)
    if images.shape != (count, PIXELS) or len(labels) != count:
        raise ValueError(
            f"{path} should hold {count} images of {PIXELS} bytes and as many labels, "
            f"it holds data {images.shape} and {len(labels)} labels"
        )
    if not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{path} holds labels that are no numbers")
    return images.reshape(-1, 3, 32, 32), _checked(np.array(labels, np.int32), path, layout)


def read_pickled_names(path: Path, layout: Layout) -> tuple[str, ...]:
    """Reads the class names of a pickled dictionary, as `read_names` does."""
    return _checked_names(_entry(_unpickle(path), layout.names_key, list, path), path, layout)


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        return read_pickle(path.read_bytes())
    except PickleError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _entry(content: dict[str, Any], key: str, kind: type, path: Path) -> Any:
    if not isinstance(content.get(key), kind):
        raise ValueError(f"{path} should hold {key!r}, it holds {', '.join(content) or 'nothing':.200}")
    return content[key]


def _checked(labels: np.ndarray, path: Path, layout: Layout) -> np.ndarray:
    wrong = np.flatnonzero((labels < 0) | (labels >= layout.num_classes))
    if wrong.size:
        raise ValueError(
            f"{path} holds {wrong.size} labels outside 0..{layout.num_classes - 1}, "
            f"the first {labels[wrong[0]]} at image {wrong[0]}"
        )
    return labels


def _checked_names(names: list[Any], path: Path, layout: Layout) -> tuple[str, ...]:
    if len(names) != layout.num_classes or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} should hold the names of {layout.num_classes} classes, it holds {len(names)}")
    return tuple(names)


def load_cifar10(directory: Path | None, image_size: int) -> ImageSet:
    """Loads CIFAR-10 from its published files or from image files; see `load` and `load_image_files`."""
    if directory is not None and (folder := folder_of_classes(directory)):
        return load_image_files(folder, image_size)
    return load(directory, image_size, layouts=CIFAR10, others=(f"{CLASSES[0]}/ and the other folders of images",))


def load_cifar100(directory: Path | None, image_size: int) -> ImageSet:
    """Loads CIFAR-100, with its 100 fine classes, from its published files; see `load`."""
    return load(directory, image_size, layouts=CIFAR100)


def folder_of_classes(directory: Path) -> Path | None:
    """Returns the folder that holds one of each class of CIFAR-10: the directory itself, or its folder `train`."""
    return next((path for path in (directory / "train", directory) if (path / CLASSES[0]).is_dir()), None)


def load_image_files(folder: Path, image_size: int) -> ImageSet:
    """Returns CIFAR-10 from image files: FOLDER/<class>/*, and FOLDER/../test/<class>/* where that is there.

    Without test files the last tenth of each class, by name, is the test set (500 images of the 5,000 published for
    training). A stratified tenth of the training images is the validation set.

    Raises:
        ValueError: a class has no images, or an image cannot be read.
    """
    images, labels = _read_folders(folder, image_size)
    if (test_folder := folder.parent / "test").is_dir() and folder.name == "train":
        test = _read_folders(test_folder, image_size)
        rest = np.arange(len(labels))
    else:
        ends = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
        last = np.concatenate([members[len(members) - round(TEST_SHARE * len(members)) :] for members in ends])
        test, rest = (images[last], labels[last]), np.setdiff1d(np.arange(len(labels)), last)
    kept, held_out = (rest[part] for part in stratified_split(labels[rest], (0.9, 0.1)))
    return ImageSet(CLASSES, *(Split(images[part], labels[part]) for part in (kept, held_out)), Split(*test))


def _read_folders(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:  # [N, size, size, 3], [N]
    files = {name: find_images(folder / name) for name in CLASSES if (folder / name).is_dir()}
    if empty := [str(folder / name) for name in CLASSES if not files.get(name)]:
        raise ValueError(f"no images in {', '.join(empty)}")
    ordered = [sorted(found, key=lambda path: (len(path), path)) for found in files.values()]  # 9.png before 10.png
    labels = np.repeat(np.arange(len(CLASSES), dtype=np.int32), [len(found) for found in ordered])
    return np.stack([read_image(path, 3, size) for found in ordered for path in found]), labels
