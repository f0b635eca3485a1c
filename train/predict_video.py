"""Classifies videos: `python -m train.predict_video runs/video-lstm-motions-0 film.mp4 folder-of-frames`.

Shapes: T frames, H height, W width, C channels, K classes.
"""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

import jaxvision as jv
from train.data.images import Preprocessing
from train.data.video_files import filled, find_frames, find_videos, read_video
from train.predict import likeliest, show
from train.shared.run import RunError, exit_on
from train.trained import read_about
from train.video import create_video_classifier, seen


@dataclasses.dataclass(frozen=True)
class Options:
    """Classify videos with a trained classifier of videos."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run of train.video."""
    videos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Video files, folders of frames (images that lie in them), and folders below which there are either."""
    top_k: int = 5
    """How many classes to show for each video."""
    json: bool = False
    """Print one JSON object a line in place of a table."""


class Classifier:
    """A trained model with the preprocessing and the classes it was trained with."""

    def __init__(self, run_dir: Path):
        """Reads what a complete run has written.

        Raises:
            RunError: the run is not complete, or is of another kind, or a file of it is damaged.
        """
        about = read_about(run_dir)
        if "num_frames" not in about:
            raise RunError(f"{run_dir} holds no classifier of videos (its model.json has no num_frames)")
        self.classes, self._num_frames = tuple(about["classes"]), about["num_frames"]
        self._channels, preprocessing = about["model"]["in_channels"], Preprocessing(**about["preprocessing"])
        self._size, model = preprocessing.image_size, create_video_classifier(about["model"])
        self._variables = jv.load_weights(model, run_dir / "weights.safetensors")

        def probabilities(variables, batch):
            logits = model.apply(variables, seen(batch, preprocessing), train=False)
            return jax.nn.softmax(logits.astype(jnp.float32))

        self._probabilities = jax.jit(probabilities)

    def __call__(self, path: Path) -> np.ndarray:
        """Returns the probabilities [K] of a video.

        Raises:
            ValueError: it cannot be read.
            RunError: it is a file, and PyAV is not installed.
        """
        frames = read_video(path, self._num_frames, self._size)  # [T or fewer, H, W, 3]
        if self._channels == 1:
            frames = np.stack([np.asarray(Image.fromarray(frame).convert("L"))[..., None] for frame in frames])
        batch = {"frames": filled(frames, self._num_frames)[None], "length": np.array([len(frames)], np.int32)}
        return np.asarray(self._probabilities(self._variables, batch))[0]


def find_all(paths: Iterable[Path]) -> list[Path]:
    """Returns the files and folders of frames named, and those below other folders named, sorted.

    Raises:
        ValueError: a path does not exist, or a folder holds no videos.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist")
        is_video = path.is_file() or find_frames(path)
        inside = [path] if is_video else [Path(video) for video in find_videos(path)]
        if not inside:
            raise ValueError(f"{path} holds no video files and no folders of frames")
        found += inside
    return found


def predict(classifier: Classifier, paths: Iterable[Path], top_k: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns, for each video that can be read, its likeliest classes; and what is wrong with the others."""
    results, failures = [], []
    for path in paths:
        try:
            results.append({"file": str(path), "top": likeliest(classifier(path), classifier.classes, top_k)})
        except ValueError as error:
            failures.append(str(error))
    return results, failures


def main() -> None:
    """Predicts as the command line says; the exit code is 1 if a video could not be read."""
    options = tyro.cli(Options, prog="python -m train.predict_video", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        if options.top_k < 1:
            raise ValueError(f"--top-k must be 1 or more, got {options.top_k}")
        paths = find_all(options.videos)
        results, failures = predict(Classifier(options.run_dir), paths, options.top_k)
    sys.exit(show(results, failures, as_json=options.json))


if __name__ == "__main__":
    main()
