"""Cat or not, by logistic regression on the pixels: `python -m train.logistic_regression --data-dir cifar10`.

A network of one unit, its gradient written out in NumPy twice: as a loop over the examples, and as matrix products,
which is what vectorising means. The command says how much faster that is. Shapes: N examples, D pixels of an image in
all colours.
"""

import dataclasses
import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.special import expit

from train.data import load_images
from train.data.images import LabelledImages, Split
from train.shared.figures import BLUE, ORANGE, STYLE, WIDTH
from train.shared.files import write_atomically
from train.shared.run import exit_on
from train.shared.seeds import LARGEST_NUMPY_SEED, check_seed

IMAGE_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Options:
    """Tell cats from other things by logistic regression."""

    data_dir: Path
    """Directory of the files of CIFAR-10, in any layout of `--data cifar10`."""
    examples: int = 4000
    """To learn from, half of them cats."""
    steps: int = 1000
    """Of gradient descent, each over all examples."""
    learning_rate: float = 0.002
    """Of gradient descent."""
    seed: int = 0
    """Of the choice of the examples."""
    output: Path = Path("logistic_regression.png")
    """PNG file of the learning curves and the weights."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name, least in (("examples", 2), ("steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be {least} or more, got {getattr(self, name)}")
        check_seed(self.seed, LARGEST_NUMPY_SEED)
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"--learning-rate must be finite, got {self.learning_rate}")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate must be above 0, got {self.learning_rate}")


class Examples(NamedTuple):
    """Flattened images, and what they show.

    Attributes:
        inputs: float32 [N, D].
        labels: float32 [N], 1 for a cat and 0 for none.
    """

    inputs: np.ndarray
    labels: np.ndarray


class Unit(NamedTuple):
    """The parameters of logistic regression, or a gradient by them: float32 [D], and a number."""

    weights: np.ndarray
    bias: float


def gradient(unit: Unit, examples: Examples) -> tuple[float, Unit]:
    """Returns the mean cross entropy over the examples, and its gradient, by matrix products.

    With z = X w + b and the sigmoid s(z), the gradient by w is X^T (s(z) - y) / N.
    """
    inputs, labels = examples
    logits = inputs @ unit.weights + unit.bias
    errors = expit(logits) - labels
    return float((np.logaddexp(0, logits) - labels * logits).mean()), Unit(
        inputs.T @ errors / len(labels), errors.mean()
    )


def gradient_by_loop(unit: Unit, examples: Examples) -> tuple[float, Unit]:
    """Returns the same, example by example."""
    loss, weights, bias = 0.0, np.zeros_like(unit.weights), 0.0
    for x, label in zip(*examples, strict=True):
        logit = x @ unit.weights + unit.bias
        error = expit(logit) - label
        loss += np.logaddexp(0, logit) - label * logit
        weights += error * x
        bias += error
    count = len(examples.labels)
    return float(loss / count), Unit(weights / count, bias / count)


def accuracy(unit: Unit, examples: Examples) -> float:
    """Returns the share of examples for which the likelier answer is right."""
    return float(((examples.inputs @ unit.weights + unit.bias > 0) == (examples.labels == 1)).mean())


def fit(
    train: Examples, test: Examples, *, steps: int, learning_rate: float, log_every: int = 10
) -> tuple[Unit, list[dict[str, float]]]:
    """Learns from zero by gradient descent.

    Returns:
        The unit, and the loss and accuracy on both sets, before the first step and every `log_every` steps.
    """
    unit, records = Unit(np.zeros(train.inputs.shape[1], np.float32), 0.0), []
    for step in range(steps + 1):
        loss, change = gradient(unit, train)
        if step % log_every == 0 or step == steps:
            scores = {"train/loss": loss, "test/loss": gradient(unit, test)[0]}
            scores |= {"train/accuracy": accuracy(unit, train), "test/accuracy": accuracy(unit, test)}
            records.append({"step": step, **scores})
        if step < steps:
            unit = Unit(unit.weights - learning_rate * change.weights, unit.bias - learning_rate * change.bias)
    return unit, records


def balanced(split: LabelledImages, cat: int, count: int, seed: int) -> Split:
    """Chooses cats and as many other images at random; the labels are then 1 and 0.

    Raises:
        ValueError: there are not as many of either.
    """
    random, chosen = np.random.RandomState(seed), []
    for name, there in (("cats", split.labels == cat), ("others", split.labels != cat)):
        if there.sum() < count // 2:
            raise ValueError(f"--examples {count} takes {count // 2} {name}, there are {there.sum()}")
        chosen.append(random.permutation(np.flatnonzero(there))[: count // 2])
    indices = np.sort(np.concatenate(chosen))
    return Split(split.images[indices], (split.labels[indices] == cat).astype(np.int32))


def flattened(split: Split, mean: np.ndarray, std: np.ndarray) -> Examples:  # [C], [C]
    """Makes a row of each image, its channels normalised."""
    inputs = (split.images / np.float32(255) - mean) / std
    return Examples(inputs.reshape(len(split), -1), split.labels.astype(np.float32))


def seconds(function: Callable, *arguments: object, repeats: int = 5) -> float:
    """Returns the shortest time that a call took, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - begun)
    return min(times[1:])


@mpl.rc_context(STYLE)
def draw(records: list[dict[str, float]], picture: np.ndarray) -> Figure:  # [H, W, 3]
    """Draws loss and accuracy over the steps, and the weights as a picture: middle grey is zero."""
    figure = Figure((WIDTH, 3.4), layout="constrained")
    *curves, weights = figure.subplots(1, 3)
    for axes, metric in zip(curves, ("loss", "accuracy"), strict=True):
        for side, color in (("train", BLUE), ("test", ORANGE)):
            values = [record[f"{side}/{metric}"] for record in records]
            last = f"{values[-1]:.1%}" if metric == "accuracy" else f"{values[-1]:.3f}"
            axes.plot([record["step"] for record in records], values, color=color, label=f"{side} {last}")
        axes.set(title=metric, xlabel="step")
        axes.legend()
    curves[1].yaxis.set_major_formatter(PercentFormatter(1, 0))
    weights.imshow(0.5 + 0.5 * picture / np.abs(picture).max(), interpolation="nearest")
    weights.set(title="weights, bright for a cat")
    weights.set_axis_off()
    return figure


def compare_times(unit: Unit, examples: Examples) -> Mapping[str, float]:
    """Returns the seconds that one gradient takes each way."""
    ways = {"loop": gradient_by_loop, "vectorised": gradient}
    return {name: seconds(way, unit, examples) for name, way in ways.items()}


def main() -> None:
    """Learns, compares and draws as the command line says."""
    options = tyro.cli(Options, prog="python -m train.logistic_regression", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(ValueError, OSError):
        if options.output.exists() and not options.overwrite:
            raise ValueError(f"{options.output} exists: give another --output, or --overwrite")
        data = load_images("cifar10", options.data_dir, IMAGE_SIZE)
        cat = data.classes.index("cat")
        chosen = balanced(data.train, cat, options.examples, options.seed)
        held_out = balanced(data.test, cat, 2 * int((data.test.labels == cat).sum()), options.seed)
        train, test = (flattened(split, *chosen.statistics()) for split in (chosen, held_out))
        unit, records = fit(train, test, steps=options.steps, learning_rate=options.learning_rate)
        png = io.BytesIO()
        draw(records, unit.weights.reshape(chosen.shape)).savefig(png, format="png", dpi=150)
        write_atomically(options.output, png.getvalue())
    times = compare_times(unit, train)
    print(f"gradient over {len(train.labels):,} examples of {len(unit.weights):,} numbers: "
          + ", ".join(f"{name} {1000 * taken:.2f} ms" for name, taken in times.items())
          + f", {times['loop'] / times['vectorised']:.1f} times as fast")  # fmt: skip
    last = records[-1]
    print(f"accuracy: train {last['train/accuracy']:.2%}, test {last['test/accuracy']:.2%}; chance is 50 %")
    print(f"figure: {options.output}")


if __name__ == "__main__":
    main()
