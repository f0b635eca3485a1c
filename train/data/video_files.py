"""Videos in files, decoded when they are due: folders of frames, or what PyAV reads.

Shapes: N videos, B batch, T frames, H height, W width, C channels.
"""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np

from train.data import images
from train.data.image_files import FileSplit
from train.data.images import Batch, read_image, resize
from train.shared.run import RunError

SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclasses.dataclass(frozen=True)
class VideoFiles(FileSplit):
    """Videos, in RGB, with labels int32 [N]; see `FileSplit`.

    Attributes:
        num_frames: T, of a video at most, as far apart as can be.
    """

    num_frames: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width and channels of a video."""
        return self.num_frames, *super().shape

    def read(self, indices: np.ndarray) -> tuple[Batch, dict[str, str]]:
        """Returns the videos of the given indices, and what is wrong with those that could not be read.

        Raises:
            BadImagesError: too many in a row cannot be read.
        """
        reasons: dict[str, str] = {}
        videos, labels = zip(*(self._read(int(index), reasons) for index in indices), strict=True)
        frames = np.stack([filled(video, self.num_frames) for video in videos])
        lengths = np.array([len(video) for video in videos], np.int32)
        return {"frames": frames, "length": lengths, "label": np.array(labels, np.int32)}, reasons

    def decode(self, file: str) -> np.ndarray:  # uint8 [T or fewer, H, W, 3]
        """Reads a video; raises ValueError where that cannot be."""
        return read_video(Path(file), self.num_frames, self.size)


def filled(frames: np.ndarray, num_frames: int) -> np.ndarray:  # [n, ...] -> [T, ...]
    """Repeats the last frame: what normalises by the statistics of a batch shall not see what is no frame."""
    return np.pad(frames, ((0, num_frames - len(frames)), *[(0, 0)] * (frames.ndim - 1)), "edge")


def find_videos(folder: Path) -> list[str]:
    """Returns the video files and the folders of frames in a folder and below it, sorted; hidden ones are left out.

    A folder of frames is one video, whatever else it holds.

    Raises:
        OSError: a folder cannot be read.
    """
    found = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.is_dir():
            found += [str(path)] if find_frames(path) else find_videos(path)
        elif path.suffix.lower() in SUFFIXES:
            found.append(str(path))
    return found


def find_frames(folder: Path) -> list[str]:
    """Returns the images that lie in a folder itself, in natural order; hidden ones and videos are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    frames = [name for name in names if Path(name).suffix.lower() in images.SUFFIXES.difference(SUFFIXES)]
    return [os.path.join(folder, name) for name in sorted(frames, key=natural)]


def natural(name: str) -> tuple[list[str | int], str]:
    """Returns what names are sorted by where numbers in them count by their value: frame 2 before frame 10."""
    parts = re.split("([0-9]+)", name)  # of text and numbers by turns
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def read_video(path: Path, num_frames: int, size: int) -> np.ndarray:  # -> uint8 [T or fewer, size, size, 3]
    """Reads frames of a video as `read_image` reads images: all of them, or as many as asked for, evenly spaced.

    Raises:
        ValueError: it cannot be read.
        RunError: it is a file, and PyAV is not installed.
    """
    if path.is_dir():
        files = find_frames(path)
        if not files:
            raise ValueError(f"{path} holds no frames")
        return np.stack([read_image(files[index], 3, size) for index in spaced(len(files), num_frames)])
    av = import_av(path)
    try:
        count = sum(1 for _ in _frames(av, path))
        chosen = set(spaced(count, num_frames).tolist())
        return np.stack(
            [resize(f.to_ndarray(format="rgb24"), size) for n, f in enumerate(_frames(av, path)) if n in chosen]
        )
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise ValueError(f"{path} cannot be read as a video: {error or type(error).__name__}") from error


def spaced(count: int, num_frames: int) -> np.ndarray:  # -> int [T or fewer]
    """Returns which of `count` frames are taken: the middles of as many parts of about one length."""
    if count <= num_frames:
        return np.arange(count)
    return (np.arange(num_frames) * 2 + 1) * count // (2 * num_frames)


def import_av(path: Path | str):
    """Returns PyAV, which decodes video files.

    Raises:
        RunError: it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise RunError(f'{path} is decoded by PyAV, the package av: pip install -e ".[video]"') from error
    return av


def _frames(av, path: Path):
    with av.open(os.fspath(path)) as container:
        yield from container.decode(video=0)
