"""Labelled images in files, decoded when they are due.

Threads decode: they start at once, share everything and die with the process, and Pillow needs no interpreter for four
fifths of the time that a photograph of 480x360 pixels takes (for two fifths of it at 32x32).

Shapes: N images, B batch, H height, W width, C channels.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from train.data.images import Batch, Order, read_image
from train.shared.run import RunError

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FIRST_NAMED = 3
"""Files that an error names."""


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """How images are read that are not held in memory."""

    workers: int = 4
    """Threads that decode images; 0 to decode between the steps."""
    max_bad_images: float = 0.01
    """Share of the images that may be unreadable before the run stops; the next good image stands in for each."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.workers < 0:
            raise ValueError(f"--workers must be 0 or more, got {self.workers}")
        if not 0 <= self.max_bad_images < 1:
            raise ValueError(f"--max-bad-images must be from 0 to below 1, got {self.max_bad_images}")


class BadImagesError(RunError):
    """More images cannot be read than was allowed."""


class BadImages:
    """The images of a data set that could not be read, each counted once."""

    def __init__(self, num_images: int, share: float):
        self._num_images, self._share = num_images, share
        self.limit = int(share * num_images)
        self._reasons: dict[str, str] = {}
        self._file: Path | None = None

    def list_in(self, file: Path) -> None:
        """Lists them in a file from now on, after what an earlier process of the same run has listed there."""
        self._file = file

    def add(self, reasons: dict[str, str]) -> None:
        """Takes in what is wrong with some files; the user is told of the first.

        Raises:
            BadImagesError: there are too many.
        """
        new = {file: reason for file, reason in reasons.items() if file not in self._reasons}
        if new and not self._reasons:
            listed = f"; all such images are listed in {self._file}" if self._file else ""
            logger.warning("%s; the next image stands in for it%s", _printable(next(iter(new.values()))), listed)
        self._reasons |= new
        if new and self._file:
            self._list(new.values())
        if len(self._reasons) > self.limit:
            raise self.error(self._reasons)

    def error(self, reasons: dict[str, str]) -> BadImagesError:
        """Returns the error that names the first of the files."""
        first = "".join(f"\n  {_printable(reason)}" for reason in list(reasons.values())[:FIRST_NAMED])
        return BadImagesError(
            f"{len(reasons)} of {self._num_images} images cannot be read, and --max-bad-images {self._share:g} allows "
            f"{self.limit}; the first are{first}"
        )

    def _list(self, reasons: Iterable[str]) -> None:
        text = {"encoding": "utf-8", "errors": "surrogateescape"}  # names of files may be in any encoding
        listed = self._file.read_text(**text).splitlines() if self._file.exists() else []
        with self._file.open("a", **text) as file:
            file.writelines(f"{line}\n" for line in map(_one_line, reasons) if line not in listed)


def _printable(text: str) -> str:
    """Escapes what is not Unicode: no stream for text takes it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


@dataclasses.dataclass(frozen=True)
class FileSplit:
    """Image files, in RGB, with labels int32 [N].

    Attributes:
        files: N paths.
        labels: [N].
        size: height and width of the images (see `read_image`).
        workers: threads that decode.
        bad: shared by the splits of a set.
    """

    files: tuple[str, ...]
    labels: np.ndarray
    size: int
    workers: int
    bad: BadImages

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.size, self.size, 3

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """ImageNet's mean and standard deviation [3], which published weights expect; nothing is read for it."""
        return np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of the steps from `start` to before `stop`, the same for any number of workers.

        Raises:
            BadImagesError: too many images cannot be read.
        """
        import grain  # takes a second to import

        steps = grain.MapDataset.range(start, stop).map(lambda step: self.read(order(step)))
        options = grain.ReadOptions(num_threads=self.workers, prefetch_buffer_size=2 * self.workers)
        with contextlib.closing(iter(steps.to_iter_dataset(options))) as source:
            for batch, reasons in source:
                self.bad.add(reasons)
                yield batch

    def take(self, indices: np.ndarray) -> "FileSplit":
        """Returns the split of some of the images."""
        return dataclasses.replace(
            self, files=tuple(self.files[index] for index in indices), labels=self.labels[indices]
        )

    def joined(self, *others: "FileSplit") -> "FileSplit":
        """Returns the split of these images and those of other splits of the set."""
        splits = (self, *others)
        files = tuple(file for split in splits for file in split.files)
        return dataclasses.replace(self, files=files, labels=np.concatenate([split.labels for split in splits]))

    def read(self, indices: np.ndarray) -> tuple[Batch, dict[str, str]]:
        """Returns the images of the given indices, and what is wrong with those that could not be read.

        In place of an image that cannot be read comes the next one of the split that can, with its own label.

        Raises:
            BadImagesError: too many in a row cannot be read.
        """
        reasons: dict[str, str] = {}
        images = np.empty((len(indices), *self.shape), np.uint8)
        labels = np.empty(len(indices), np.int32)
        for place, index in enumerate(indices):
            images[place], labels[place] = self._read(int(index), reasons)
        return {"image": images, "label": labels}, reasons

    def decode(self, file: str) -> np.ndarray:  # [H, W, C]
        """Reads a file; raises ValueError where that cannot be."""
        return read_image(file, 3, self.size)

    def _read(self, index: int, reasons: dict[str, str]) -> tuple[np.ndarray, int]:
        tried: dict[str, str] = {}
        for place in range(index, index + min(len(self), self.bad.limit + 1)):
            file, label = self.files[place % len(self)], self.labels[place % len(self)]
            try:
                return self.decode(file), label
            except ValueError as error:
                tried[file] = reasons[file] = str(error)
        raise self.bad.error(tried)
