"""Draws why classifiers lower cross-entropy: `python -m train.loss_curves --output loss_curves.png`.

Logistic regression by cross-entropy beside squared error: the losses of a logit, their gradients, and the mean loss of
a small data set as its one weight varies, which has a single valley for the one and plains and ridges for the other.
Below, the losses of a softmax of two classes: with smoothed labels an answer can be too sure, and the focal loss leaves
examples alone that are classified well.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

from train.shared.figures import BLUE, GREEN, ORANGE, STYLE, WIDTH
from train.shared.files import new_file
from train.shared.losses import cross_entropy, focal, squared_error
from train.shared.run import exit_on

LOSSES: dict[str, tuple[Callable, str]] = {
    "cross-entropy": (optax.sigmoid_binary_cross_entropy, BLUE),
    "squared error": (squared_error, ORANGE),
}
SMOOTHING = 0.1


def of_two_classes(loss: Callable, logits: jax.Array, **options: float) -> jax.Array:  # [...] -> [...]
    """Returns the loss of examples of the first class, by how much its logit is above the other's."""
    flat = jnp.ravel(logits)
    pairs = jnp.stack([flat, jnp.zeros_like(flat)], -1)
    return loss(pairs, jnp.zeros(len(flat), jnp.int32), **options).reshape(jnp.shape(logits))


SOFTMAX_LOSSES: dict[str, tuple[Callable, str]] = {
    "cross-entropy": (partial(of_two_classes, cross_entropy), BLUE),
    f"labels smoothed by {SMOOTHING}": (partial(of_two_classes, cross_entropy, smoothing=SMOOTHING), ORANGE),
    "focal, gamma 2": (partial(of_two_classes, focal, gamma=2.0), GREEN),
}
# One feature and a label each. Two examples are mislabelled: the best weight is finite.
FEATURES = np.float32([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 8.0, -10.0])
LABELS = np.float32([0, 0, 0, 1, 1, 1, 0, 1])


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw cross-entropy beside squared error, smoothed labels and the focal loss."""

    output: Path = Path("loss_curves.png")
    """The picture; a file that is there already is left alone."""


def mean_losses(weights: np.ndarray, loss: Callable) -> np.ndarray:  # [W] -> [W]
    """Returns the mean loss over the examples for each weight of the one feature."""
    return np.asarray(loss(jnp.outer(weights, FEATURES), jnp.tile(LABELS, (len(weights), 1))).mean(1))


def of_positive(loss: Callable) -> Callable:
    """Returns the loss of the label 1 as a function of the logit."""
    return lambda logits: loss(logits, jnp.ones_like(logits))


def slopes(logits: np.ndarray, loss: Callable) -> np.ndarray:  # [N] -> [N]
    """Returns the derivative of a loss by the logit."""
    return np.asarray(jax.vmap(jax.grad(loss))(jnp.float32(logits)))


@mpl.rc_context(STYLE)
def draw() -> Figure:
    """Draws the losses, their gradients and the mean loss of the examples; below, the losses of a softmax."""
    figure = Figure((WIDTH, 6.6), layout="constrained")
    panels, (loss_below, slope_below, unused) = figure.subplots(2, 3)
    unused.set_axis_off()
    logits, weights = np.linspace(-8, 8, 201, dtype=np.float32), np.linspace(-4, 4, 401, dtype=np.float32)
    for name, (loss, color) in LOSSES.items():
        panels[0].plot(logits, of_positive(loss)(logits), color=color, label=name)
        panels[1].plot(logits, slopes(logits, of_positive(loss)), color=color, label=name)
        panels[2].plot(weights, mean_losses(weights, loss), color=color, label=name)
    panels[0].set(title="Loss of a positive example", xlabel="logit", ylim=(0, 6))
    panels[1].set(title="Its gradient, soon flat for squares", xlabel="logit")
    panels[2].set(title="Mean loss of eight examples", xlabel="weight", ylim=(0, 3))
    for name, (loss, color) in SOFTMAX_LOSSES.items():
        loss_below.plot(logits, loss(logits), color=color, label=name)
        slope_below.plot(logits, slopes(logits, loss), color=color, label=name)
    difference = "logit above the other class's"
    loss_below.set(title="Losses of a softmax", xlabel=difference, ylim=(0, 6))
    slope_below.set(title="Their gradients", xlabel=difference)
    panels[0].legend()
    loss_below.legend()
    return figure


def main() -> None:
    """Draws as the command line says."""
    options = tyro.cli(Options, prog="python -m train.loss_curves")
    with exit_on(OSError), new_file(options.output) as file:
        draw().savefig(file, format="png", dpi=150)
    print(options.output)


if __name__ == "__main__":
    main()
