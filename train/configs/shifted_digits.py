"""What moving an image does to a classifier that has learnt it in one place.

    python -m train.configs.shifted_digits

A multilayer perceptron, LeNet-5 and a residual network of 8 layers learn the digits where they are, enlarged to 32x32
pixels and without augmentation, three seeds each. Then the test images are moved by 0 to 10 pixels up, down, left and
right: what leaves the image is lost, and black comes in.

LeNet-5 loses as much as the perceptron: its convolutions move with the digit, its fully connected layers do not. The
residual network ends in the mean over all places, and holds best from 3 pixels on, most at multiples of 4, by which its
maps move by whole pixels; in between, its two strides sample other values, and at 1 and 2 pixels it is the worst of the
three (Zhang 2019, "Making convolutional networks shift-invariant again", https://arxiv.org/abs/1904.11486). `--record`
keeps accuracies and figure beside this file.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train import classification
from train.configs.scores import Curves, save_curves
from train.data import load_images
from train.data.images import LabelledImages
from train.predict import Classifier
from train.shared.figures import BLUE, GREEN, ORANGE, STYLE
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

MODELS = {"mlp": ORANGE, "lenet5": GREEN, "resnet8": BLUE}
TITLES = {"mlp": "multilayer perceptron", "lenet5": "LeNet-5", "resnet8": "residual network, 8 layers"}
SHIFTS = range(11)  # pixels of 32
CONFIG = classification.Config(
    epochs=30,
    batch_size=64,
    augment="none",
    evaluate_every=10,
    devices=1,
    optimizer=OptimizerConfig(learning_rate=2e-3),
)
RECORD = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a perceptron and two convolutional networks on the digits, and draw their accuracy on moved ones."""

    run_dir: Path = Path("runs/shifted_digits")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    seeds: int = 3
    """Runs of each network."""
    record: bool = False
    """Keep accuracies and figure beside this file."""


def measure(options: Options) -> Curves:
    """Returns, for each network, its accuracy at each shift, a list per seed."""
    test = load_images(CONFIG.data, None, CONFIG.image_size).test
    curves: Curves = {}
    for name in MODELS:
        for seed in range(options.seeds):
            config = dataclasses.replace(CONFIG, model=name, seed=seed, run_dir=options.run_dir / f"{name}-{seed}")
            classification.run(config)
            curves.setdefault(name, []).append(accuracies(Classifier(config.directory), test))
    return curves


def accuracies(classifier: Callable[[np.ndarray], np.ndarray], test: LabelledImages) -> list[float]:
    """Returns the mean accuracy over the four directions, for each shift.

    Args:
        classifier: from images uint8 [N, H, W, C] to probabilities [N, K].
        test: the images and their labels.
    """
    correct = lambda images: float((classifier(images).argmax(-1) == test.labels).mean())
    directions = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return [
        float(np.mean([correct(moved(test.images, pixels * down, pixels * right)) for down, right in directions]))
        for pixels in SHIFTS
    ]


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:  # [N, H, W, C]
    """Moves images by whole pixels; black comes in where they leave."""
    height, width = images.shape[1:3]
    pads = [(0, 0), (max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)]
    top, left = max(-down, 0), max(-right, 0)
    return np.pad(images, pads)[:, top : top + height, left : left + width]


@mpl.rc_context(STYLE)
def draw(curves: Curves) -> Figure:
    """Draws the mean over the seeds of each network, and the range between them."""
    figure = Figure((9, 4), layout="constrained")
    axes = figure.subplots()
    for name, color in MODELS.items():
        values = np.array(curves[name])  # [seeds, shifts]
        axes.plot(SHIFTS, values.mean(0), color=color, marker="o", label=TITLES[name])
        axes.fill_between(SHIFTS, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
    axes.axhline(0.1, color="grey", linestyle=":", label="chance")
    axes.set(title="digits that were moved after training", xlabel="pixels of 32", ylabel="test accuracy", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    figure.legend(loc="outside right center")
    return figure


def main() -> None:
    """Trains, draws and prints the accuracies."""
    options = tyro.cli(Options, prog="python -m train.configs.shifted_digits", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        curves = measure(options)
        kept = RECORD if options.record else options.run_dir / RECORD.name
        save_curves(curves, kept)
        draw(curves).savefig(kept.with_suffix(".png"), dpi=100)
    for name, found in curves.items():
        means = np.mean(found, axis=0)
        shown = ", ".join(f"{pixels}: {100 * means[pixels]:.1f}" for pixels in SHIFTS[::2])
        print(f"{name:8} accuracy (%) by pixels moved: {shown}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
