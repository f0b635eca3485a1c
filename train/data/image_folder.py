"""Folders of images, a folder to a class.

DIR/train/<class>/*, DIR/val/<class>/* (or valid, validation), DIR/test/<class>/*: of val and test, what is missing is
cut off train. Or DIR/<class>/*, of which all three splits are made.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from train.data.image_files import BadImages, FileSplit, ReadingConfig
from train.data.images import SPLITS, ImageSet, find_images, stratified_split

NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
WHOLE = (0.6, 0.2, 0.2)
CUT_OFF = 0.1


def load(directory: Path | None, image_size: int, reading: ReadingConfig) -> ImageSet:
    """Finds the images of a folder; none is decoded yet.

    Args:
        directory: in either layout.
        image_size: height and width that images are resized to (see `read_image`).
        reading: how they are read.

    Raises:
        ValueError: no directory was given, a class has no images, or a split has classes that train has not.
        OSError: a folder cannot be read.
    """
    classes, parts = labelled_files(directory, find_images, "images")
    bad = BadImages(sum(len(files) for files, _ in parts.values()), reading.max_bad_images)
    splits = {name: FileSplit(*part, image_size, reading.workers, bad) for name, part in parts.items()}
    return ImageSet(classes, **splits)


def labelled_files(
    directory: Path | None, find: Callable[[Path], list[str]], noun: str
) -> tuple[tuple[str, ...], dict[str, tuple[tuple[str, ...], np.ndarray]]]:
    """Finds what lies in the folders of classes.

    Args:
        directory: in either layout.
        find: from the folder of a class, what is to be found there, sorted.
        noun: what that is called.

    Returns:
        The names of the classes, and of each split the files and their labels, int32.

    Raises:
        ValueError, OSError: see `load`.
    """
    if directory is None:
        raise ValueError("this data set needs --data-dir, the directory of its folders, one to a class")
    folders = _split_folders(directory)
    found = {split: _find_classes(folder, find, noun) for split, folder in folders.items()}
    classes = tuple(found["train"])
    for split, files in found.items():
        if unknown := sorted(set(files) - set(classes)):
            raise ValueError(f"{folders[split]} has classes that {folders['train']} has not: {', '.join(unknown)}")
    parts = {split: _labelled(files, classes) for split, files in found.items()}
    missing = [split for split in SPLITS if split not in parts]
    shares = WHOLE if folders["train"] == directory else (1 - CUT_OFF * len(missing), *[CUT_OFF] * len(missing))
    files, labels = parts["train"]
    for split, chosen in zip(["train", *missing], stratified_split(labels, shares), strict=True):
        parts[split] = tuple(files[index] for index in chosen), labels[chosen]
    return classes, parts


def _split_folders(directory: Path) -> dict[str, Path]:
    """Returns the folders of the splits; the directory itself, as that of train, where there are none."""
    inside = {path.name: path for path in directory.iterdir() if path.is_dir()}
    # A folder of that name without folders in it is a class.
    named = {
        split: [inside[name] for name in names if name in inside and _folders(inside[name])]
        for split, names in NAMES.items()
    }
    if several := next((paths for paths in named.values() if len(paths) > 1), None):
        raise ValueError(f"{' and '.join(map(str, several))} are the same split")
    folders = {split: paths[0] for split, paths in named.items() if paths}
    if folders and "train" not in folders:
        raise ValueError(f"there is {', '.join(map(str, folders.values()))} but no {directory / 'train'}")
    return folders or {"train": directory}


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def _find_classes(directory: Path, find: Callable[[Path], list[str]], noun: str) -> dict[str, list[str]]:
    """Returns what is found of each class."""
    found = {folder.name: find(folder) for folder in _folders(directory)}
    if not found:
        raise ValueError(f"{directory} holds no folders: the {noun} of a class lie in a folder of its name")
    if empty := [str(directory / name) for name, files in found.items() if not files]:
        raise ValueError(f"no {noun} in {', '.join(empty)}")
    return found


def _labelled(found: dict[str, list[str]], classes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    files = tuple(file for name in found for file in found[name])
    labels = np.repeat([classes.index(name) for name in found], [len(files) for files in found.values()])
    return files, labels.astype(np.int32)
