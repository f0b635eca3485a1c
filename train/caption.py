"""Says what images show, with a finished run: `python -m train.caption runs/captioning-attention-scenes-0 photo.png`.

Shapes: N images, H height, W width, C channels.
"""

import dataclasses
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from train.captioner import TrainedCaptioner, Writer, look, read_captioner
from train.data.captions import CaptionedSplit
from train.data.images import Split, read_image
from train.predict import find_files
from train.shared import caption_figures
from train.shared.files import write_atomically
from train.shared.mesh import make_mesh
from train.shared.run import RunError, exit_on

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Say what images show, with a trained captioner."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, and folders whose image files are taken, those of their subfolders too."""
    beams: int = 3
    """Beams of the search; 1 for the likeliest word at each step."""
    length_penalty: float = 0.0
    """Exponent of the length that the scores of the search are divided by."""
    attention: Path | None = None
    """Picture to make, a new PNG file, of where the decoder looked for each word."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if not self.images:
            raise ValueError("there is nothing to say: give image files or folders of them")
        if self.beams < 1:
            raise ValueError(f"--beams must be 1 or more, got {self.beams}")
        if self.length_penalty < 0:
            raise ValueError(f"--length-penalty must be 0 or more, got {self.length_penalty}")
        if self.attention is not None and self.attention.suffix != ".png":
            raise ValueError(f"--attention must be a .png file, got {self.attention}")
        if self.attention is not None and self.attention.exists():
            raise ValueError(f"--attention {self.attention} exists: give another")


def read(paths: Iterable[Path], trained: TrainedCaptioner) -> tuple[dict[Path, np.ndarray], list[str]]:
    """Returns images, uint8 [H, W, C], as the captioner takes them, and what is wrong with those that it cannot."""
    found, failures = {}, []
    for path in paths:
        try:
            found[path] = read_image(path, len(trained.preprocessing.mean), trained.preprocessing.image_size)
        except ValueError as error:
            failures.append(str(error))
    return found, failures


def caption(trained: TrainedCaptioner, images: np.ndarray, beams: int, length_penalty: float) -> list[str]:
    """Returns captions of images, uint8 [N, H, W, C]."""
    count = len(images)
    writer = Writer(
        trained.model, trained.preprocessing, trained.max_length, make_mesh(1), batch_size=min(BATCH_SIZE, count)
    )
    nothing_said = np.zeros((count, 1, 2), np.int32)
    split = CaptionedSplit(Split(images, np.arange(count)), [()] * count, nothing_said)
    written, _ = writer.write(trained.variables, split, beams, length_penalty)
    return [trained.vocabulary.decode(row) for row in written.tolist()]


def draw(trained: TrainedCaptioner, images: np.ndarray, captions: list[str]) -> bytes:
    """Returns the picture, PNG, of where the decoder looked for the words of captions of images [N, H, W, C].

    Raises:
        ValueError: it looks at nothing.
    """
    looks = look(trained, images, captions)
    if not looks:
        raise ValueError("--attention: this captioner has no attention to draw")
    png = io.BytesIO()
    caption_figures.looks(looks).savefig(png, format="png", dpi=150)
    return png.getvalue()


def main() -> None:
    """Says what the command line asks for; the exit code is 1 if an image could not be read."""
    with exit_on(RunError, ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.caption", config=(tyro.conf.FlagCreatePairsOff,))
        paths, trained = find_files(options.images), read_captioner(options.run_dir)
        found, failures = read(paths, trained)
        if found:
            images = np.stack([*found.values()])
            captions = caption(trained, images, options.beams, options.length_penalty)
            print("\n".join(f"{path}: {said}" for path, said in zip(found, captions, strict=True)), flush=True)
            if options.attention is not None:
                write_atomically(options.attention, draw(trained, images, captions))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
