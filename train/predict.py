"""Classifies image files: `python -m train.predict runs/lenet5-digits-0 photo.png folder/`.

Shapes: N images, K classes.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from train.data.images import find_images, read_image
from train.shared.run import RunError, exit_on
from train.trained import read_trained

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Classify image files with a trained classifier."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, and folders whose image files are taken, those of their subfolders too."""
    top_k: int = 5
    """How many classes to show for each image."""
    json: bool = False
    """Print one JSON object a line in place of a table."""


class Classifier:
    """A trained model with the preprocessing and the classes it was trained with."""

    def __init__(self, run_dir: Path):
        """Reads what a complete run has written.

        Raises:
            RunError: the run is not complete, or a file of it is damaged.
        """
        self._trained = trained = read_trained(run_dir)
        self.classes, self.channels, self.size = trained.classes, trained.channels, trained.size

        def probabilities(variables, images):
            logits = trained.model.apply(variables, trained.preprocessing(images), train=False)
            return jax.nn.softmax(logits.astype(jnp.float32))

        self._probabilities = jax.jit(probabilities)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the probabilities [N, K] of images uint8 [N, size, size, channels]."""
        return np.asarray(self._probabilities(self._trained.variables, jnp.asarray(images)))


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Returns the files named, and the image files in the folders named, sorted.

    Raises:
        ValueError: a path does not exist, or a folder holds no images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist")
        inside = [path] if path.is_file() else [Path(file) for file in find_images(path)]
        if not inside:
            raise ValueError(f"{path} holds no image files")
        found += inside
    return found


def predict(classifier: Classifier, paths: Iterable[Path], top_k: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns, for each image that can be read, its likeliest classes; and what is wrong with the others."""
    results, failures = [], []
    images = _read(paths, classifier, failures)
    while batch := list(itertools.islice(images, BATCH_SIZE)):
        probabilities = classifier(np.stack([image for _, image in batch]))
        for (path, _), row in zip(batch, probabilities, strict=True):
            results.append({"file": str(path), "top": likeliest(row, classifier.classes, top_k)})
    return results, failures


def likeliest(probabilities: np.ndarray, classes: Sequence[str], top_k: int) -> list[dict[str, Any]]:  # [K]
    """Returns the likeliest classes, the first first."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]  # of equals the first, as argmax has it
    return [{"class": classes[i], "probability": float(probabilities[i])} for i in best]


def _read(paths: Iterable[Path], classifier: Classifier, failures: list[str]) -> Iterator[tuple[Path, np.ndarray]]:
    for path in paths:
        try:
            yield path, read_image(path, classifier.channels, classifier.size)
        except ValueError as error:
            failures.append(str(error))


def show(results: list[dict[str, Any]], failures: list[str], *, as_json: bool) -> int:
    """Prints predictions, and what is wrong with files; returns 1 if something is, or else 0."""
    if as_json:
        for result in results:
            print(json.dumps(result))
    elif results:
        Console().print(table(results))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def table(results: list[dict[str, Any]]) -> Table:
    """Lays predictions out, a file a row, the likeliest class first."""
    grid = Table("file", *(f"{rank + 1}." for rank in range(len(results[0]["top"]))))
    for result in results:
        grid.add_row(result["file"], *(f"{top['class']}  {top['probability']:.1%}" for top in result["top"]))
    return grid


def main() -> None:
    """Predicts as the command line says; the exit code is 1 if an image could not be read."""
    options = tyro.cli(Options, prog="python -m train.predict", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        if options.top_k < 1:
            raise ValueError(f"--top-k must be 1 or more, got {options.top_k}")
        paths = find_files(options.images)
        results, failures = predict(Classifier(options.run_dir), paths, options.top_k)
    sys.exit(show(results, failures, as_json=options.json))


if __name__ == "__main__":
    main()
