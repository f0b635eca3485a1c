"""Labelled videos: handwritten digits that move, or folders of videos, a folder to a class.

Shapes: N videos, B batch, T frames, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxvision.registry import unknown_name
from train.data import motions
from train.data.image_files import BadImages, ReadingConfig
from train.data.image_folder import labelled_files
from train.data.images import Batch, Order, Split
from train.data.video_files import VideoFiles, find_videos, import_av

MOTIONS_SEED = 0


@dataclasses.dataclass(frozen=True)
class Clips:
    """Videos held in memory: frames uint8 [N, T, H, W, C], lengths int32 [N] and labels int32 [N]."""

    frames: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width and channels of a video."""
        return self.frames.shape[1:]

    @property
    def arrays(self) -> Batch:
        """All videos as a batch."""
        return {"frames": self.frames, "length": self.lengths, "label": self.labels}

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [C] of the pixels, scaled to 0..1."""
        images = self.frames.reshape(-1, *self.shape[1:])
        return Split(images, np.zeros(len(images), np.int32)).statistics()

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of the steps from `start` to before `stop`."""
        for indices in map(order, range(start, stop)):
            yield {name: array[indices] for name, array in self.arrays.items()}


@dataclasses.dataclass(frozen=True)
class VideoSet:
    """Labelled videos in three splits.

    Attributes:
        classes: names, in the order of the labels.
        train, val, test: the splits.
    """

    classes: tuple[str, ...]
    train: Clips | VideoFiles
    val: Clips | VideoFiles
    test: Clips | VideoFiles


def load_videos(
    name: str, directory: Path | None, image_size: int, num_frames: int, reading: ReadingConfig
) -> VideoSet:
    """Loads labelled videos.

    Args:
        name: "motions", or "folder": DIR/train/CLASS/*, DIR/val/CLASS/*, DIR/test/CLASS/*, or DIR/CLASS/*, of which the
            splits are made: video files, and folders of frames, in the folder of a class or deeper in it.
        directory: of the folders.
        image_size: height and width that frames are resized to.
        num_frames: T, of files at most.
        reading: how files are read.

    Raises:
        ValueError: no set has that name, or its files are not as they should be.
        RunError: there are video files, and PyAV is not installed.
        OSError: a folder cannot be read.
    """
    if name == "motions":
        if directory is not None or image_size != motions.FRAME:
            raise ValueError(
                f"--data motions makes its own, of {motions.FRAME}x{motions.FRAME} pixels: got --data-dir {directory}, "
                f"--image-size {image_size}"
            )
        parts = motions.generate(MOTIONS_SEED)
        return VideoSet(motions.CLASSES, **{split: Clips(*part) for split, part in parts.items()})
    if name != "folder":
        raise ValueError(unknown_name("set of videos", name, ("motions", "folder")))
    classes, parts = labelled_files(directory, find_videos, "videos")
    every = [file for files, _ in parts.values() for file in files]
    if encoded := [file for file in every if Path(file).is_file()]:
        import_av(encoded[0])  # fails here where it is not installed, and not after hours
    bad = BadImages(len(every), reading.max_bad_images)
    splits = {
        split: VideoFiles(*part, image_size, reading.workers, bad, num_frames=num_frames)
        for split, part in parts.items()
    }
    return VideoSet(classes, **splits)
