"""What moving and cropping an image does to a classifier that has learnt it in one place.

    python -m train.configs.shifted_digits

A multilayer perceptron, LeNet-5 and a residual network of 8 layers learn the digits where they are, enlarged to 32x32
pixels and without augmentation, three seeds each. Then the test images are moved by 0 to 10 pixels up, down, left and
right: what leaves the image is lost, and black comes in. Or 0 to 10 pixels are cut off each side, and what is left is
enlarged to 32x32 again.

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
from train.data.images import LabelledImages, resize
from train.predict import Classifier
from train.shared.figures import BLUE, GREEN, ORANGE, STYLE
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

MODELS = {"mlp": ORANGE, "lenet5": GREEN, "resnet8": BLUE}
TITLES = {"mlp": "multilayer perceptron", "lenet5": "LeNet-5", "resnet8": "residual network, 8 layers"}
CHANGED = range(11)  # pixels of 32
CROPPED = "{}, cropped"  # name of its curves
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
    """Train a perceptron and two convolutional networks on digits, and draw what moving and cropping does to them."""

    run_dir: Path = Path("runs/shifted_digits")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    seeds: int = 3
    """Runs of each network."""
    record: bool = False
    """Keep accuracies and figure beside this file."""


def measure(options: Options) -> Curves:
    """Returns, for each network, its accuracy at each shift and at each crop, a list per seed."""
    test = load_images(CONFIG.data, None, CONFIG.image_size).test
    curves: Curves = {}
    for name in MODELS:
        for seed in range(options.seeds):
            config = dataclasses.replace(CONFIG, model=name, seed=seed, run_dir=options.run_dir / f"{name}-{seed}")
            classification.run(config)
            classifier = Classifier(config.directory)
            curves.setdefault(name, []).append(of_moved(classifier, test))
            curves.setdefault(CROPPED.format(name), []).append(of_cropped(classifier, test))
    return curves


def accuracy(classifier: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of images [N, H, W, C] whose likeliest class, by probabilities [N, K], is their label [N]."""
    return float((classifier(images).argmax(-1) == labels).mean())


def of_moved(classifier: Callable[[np.ndarray], np.ndarray], test: LabelledImages) -> list[float]:
    """Returns the mean accuracy over the four directions, for each shift."""
    directions = ((-1, 0), (1, 0), (0, -1), (0, 1))
    score = lambda down, right: accuracy(classifier, moved(test.images, down, right), test.labels)
    return [float(np.mean([score(pixels * down, pixels * right) for down, right in directions])) for pixels in CHANGED]


def of_cropped(classifier: Callable[[np.ndarray], np.ndarray], test: LabelledImages) -> list[float]:
    """Returns the accuracy for each crop."""
    return [accuracy(classifier, cropped(test.images, pixels), test.labels) for pixels in CHANGED]


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:  # [N, H, W, C]
    """Moves images by whole pixels; black comes in where they leave."""
    height, width = images.shape[1:3]
    pads = [(0, 0), (max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)]
    top, left = max(-down, 0), max(-right, 0)
    return np.pad(images, pads)[:, top : top + height, left : left + width]


def cropped(images: np.ndarray, pixels: int) -> np.ndarray:  # [N, S, S, 1]
    """Cuts pixels off each side of grey images, and enlarges what is left to their size, bilinearly."""
    size = images.shape[1]
    return np.stack([resize(image[pixels : size - pixels, pixels : size - pixels, 0], size) for image in images])


@mpl.rc_context(STYLE)
def draw(curves: Curves) -> Figure:
    """Draws the mean over the seeds of each network, and the range between them."""
    figure = Figure((12, 4), layout="constrained")
    titles = {"{}": "digits that were moved", CROPPED: "digits that were cropped and enlarged"}
    for axes, (kind, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for name, color in MODELS.items():
            values = np.array(curves[kind.format(name)])  # [seeds, changes]
            axes.plot(CHANGED, values.mean(0), color=color, marker="o", label=TITLES[name])
            axes.fill_between(CHANGED, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
        axes.axhline(0.1, color="grey", linestyle=":", label="chance")
        axes.set(title=title, ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    by_shift, by_crop = figure.axes
    by_shift.set(xlabel="pixels of 32", ylabel="test accuracy")
    by_crop.set(xlabel="pixels of 32 cut off each side")
    figure.legend(*by_shift.get_legend_handles_labels(), loc="outside right center")
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
        shown = ", ".join(f"{pixels}: {100 * means[pixels]:.1f}" for pixels in CHANGED[::2])
        print(f"{name:16} accuracy (%) by pixels: {shown}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
