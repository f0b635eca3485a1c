"""Tells whether the splits of a data set are of one kind: `python -m train.compare_splits --data digits`.

Two tests for each pair of splits: whether they have the classes in the same shares (chi-squared), and whether a linear
classifier can tell their images apart (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests",
https://arxiv.org/abs/1610.06545), with a rank test of its cross-validated scores. It sees coarse pictures, and how much
pixels differ from those near them, where noise, blur and another resolution show.

Shapes: N images, H height, W width, C channels, K classes, D features.
"""

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from train.data import load_images
from train.data.images import SPLITS, LabelledImages
from train.shared.figures import class_shares
from train.shared.files import new_file
from train.shared.run import RunError, exit_on

GRID = 8
"""Height and width of the coarse pictures that the classifier sees."""
DISTANCES = (1, 2, 4)
"""Pixels between those whose differences it sees."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare the splits of a data set."""

    data: str = "digits"
    """Data set, as train.classification has them."""
    data_dir: Path | None = None
    """Directory of the files of the data set."""
    split: tuple[float, ...] | None = None
    """Shares of the splits that all images are cut into anew, as train.classification has them."""
    image_size: int = 32
    """Height and width that images are resized to."""
    most: int = 2000
    """Images of each split that are compared, at most."""
    significance: float = 0.001
    """Probability of a false alarm of each test."""
    output: Path | None = None
    """A picture of the shares of the classes; a file that is there already is left alone."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.most < 20:
            raise ValueError(f"--most must be 20 or more, got {self.most}")
        if not 0 < self.significance < 1:
            raise ValueError(f"--significance must be between 0 and 1, got {self.significance}")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two splits side by side.

    Attributes:
        splits: their names.
        labels_p: probability of shares of the classes as different as theirs, or more, by chance.
        auroc: how well a classifier tells their images apart: 0.5 not at all, 1 perfectly.
        images_p: probability of so high a value by chance.
    """

    splits: tuple[str, str]
    labels_p: float
    auroc: float
    images_p: float


def compare_labels(counts: np.ndarray) -> float:  # [2, K]
    """Returns the p-value of the chi-squared test that two splits have the classes in the same shares."""
    from scipy.stats import chi2_contingency

    there = counts[:, counts.sum(0) > 0]
    return float(chi2_contingency(there, correction=False).pvalue) if there.shape[1] > 1 else 1.0


def compare_images(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:  # [N, D], [M, D]
    """Returns the area under the ROC curve of a linear classifier of which split images are from, and its p-value."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, origin = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced"))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, origin, cv=folds, method="decision_function")
    test = mannwhitneyu(scores[origin == 1], scores[origin == 0], alternative="greater")
    return float(test.statistic) / (len(first) * len(second)), float(test.pvalue)


def coarse(images: np.ndarray) -> np.ndarray:  # [N, H, W, C] -> [N, GRID GRID C]
    """Returns the means over the cells of a grid."""
    rows, columns = (np.array_split(np.arange(length), min(GRID, length)) for length in images.shape[1:3])
    cells = [images[:, row[0] : row[-1] + 1, column[0] : column[-1] + 1] for row in rows for column in columns]
    return np.concatenate([cell.mean((1, 2), dtype=np.float32) for cell in cells], -1)


def detail(images: np.ndarray) -> np.ndarray:  # [N, H, W, C] -> [N, 2 len(DISTANCES) C]
    """Returns the mean difference of pixels some distance apart, down and across, on a logarithmic scale."""
    ways = [(axis, distance) for axis in (0, 1) for distance in DISTANCES]

    def of_one(image: np.ndarray) -> np.ndarray:
        image = image.astype(np.float32)
        return np.stack([np.abs(image - np.roll(image, distance, axis)).mean((0, 1)) for axis, distance in ways])

    return np.log1p(np.stack([of_one(image).ravel() for image in images]))


def sample(split: LabelledImages, most: int) -> np.ndarray:  # -> [N, D]
    """Returns what the classifier sees of some images of a split, evenly spaced over it."""
    indices = np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).astype(int))
    images = next(split.batches(lambda _: indices, 0, 1))["image"]
    return np.concatenate([coarse(images), detail(images)], 1)


def compare(options: Options) -> tuple[dict[str, np.ndarray], tuple[str, ...], list[Comparison]]:
    """Returns how many images of each class each split has [K], the names of the classes, and the comparisons.

    Raises:
        ValueError: there is no such data, or a split is too small to be compared.
        OSError, RunError: files cannot be read.
    """
    data = load_images(options.data, options.data_dir, options.image_size, shares=options.split)
    splits = {name: getattr(data, name) for name in SPLITS}
    if small := [name for name, split in splits.items() if len(split) < 10]:
        raise ValueError(f"the {small[0]} split has {len(splits[small[0]])} images; 10 are the least to be compared")
    counts = data.counts()
    pictures = {name: sample(split, options.most) for name, split in splits.items()}
    comparisons = [
        Comparison(
            pair,
            compare_labels(np.stack([counts[name] for name in pair])),
            *compare_images(*(pictures[name] for name in pair)),
        )
        for pair in itertools.combinations(SPLITS, 2)
    ]
    return counts, data.classes, comparisons


def table(comparisons: list[Comparison], significance: float) -> Table:
    """Lays the comparisons out, a pair a row."""
    verdict = lambda p: f"p {p:.2g}  {'DIFFERENT' if p < significance else 'alike'}"
    grid = Table("splits", "classes", "images", "told apart (AUROC)")
    for found in comparisons:
        pair = " and ".join(found.splits)
        grid.add_row(pair, verdict(found.labels_p), verdict(found.images_p), f"{found.auroc:.3f}")
    return grid


def main(arguments: list[str] | None = None) -> Any:
    """Compares what the command line names; the exit code is 1 where two splits differ."""
    options = tyro.cli(Options, prog="python -m train.compare_splits", args=arguments)
    with exit_on(RunError, ValueError, OSError):
        counts, classes, comparisons = compare(options)
        if options.output is not None:
            with new_file(options.output) as file:
                class_shares(counts, classes).savefig(file, format="png", dpi=150)
    Console().print(table(comparisons, options.significance))
    sys.exit(int(any(min(found.labels_p, found.images_p) < options.significance for found in comparisons)))


if __name__ == "__main__":
    main()
