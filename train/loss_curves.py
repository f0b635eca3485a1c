"""Draws why classifiers lower cross-entropy: `python -m train.loss_curves --output loss_curves.png`.

Logistic regression by cross-entropy beside squared error: the losses of a logit, their gradients, and the mean loss of
a small data set as its one weight varies, which has a single valley for the one and plains and ridges for the other.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

from train.shared.figures import BLUE, ORANGE, STYLE, WIDTH
from train.shared.files import new_file
from train.shared.losses import squared_error
from train.shared.run import exit_on

LOSSES: dict[str, tuple[Callable, str]] = {
    "cross-entropy": (optax.sigmoid_binary_cross_entropy, BLUE),
    "squared error": (squared_error, ORANGE),
}
# One feature and a label each. Two examples are mislabelled: the best weight is finite.
FEATURES = np.float32([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 8.0, -10.0])
LABELS = np.float32([0, 0, 0, 1, 1, 1, 0, 1])


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw cross-entropy beside squared error."""

    output: Path = Path("loss_curves.png")
    """The picture; a file that is there already is left alone."""


def mean_losses(weights: np.ndarray, loss: Callable) -> np.ndarray:  # [W] -> [W]
    """Returns the mean loss over the examples for each weight of the one feature."""
    return np.asarray(loss(jnp.outer(weights, FEATURES), jnp.tile(LABELS, (len(weights), 1))).mean(1))


def slopes(logits: np.ndarray, loss: Callable) -> np.ndarray:  # [N] -> [N]
    """Returns the derivative of the loss of the label 1 by the logit."""
    return np.asarray(jax.vmap(jax.grad(lambda logit: loss(logit, jnp.float32(1))))(jnp.float32(logits)))


@mpl.rc_context(STYLE)
def draw() -> Figure:
    """Draws the losses, their gradients and the mean loss of the examples."""
    figure = Figure((WIDTH, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    logits, weights = np.linspace(-8, 8, 201, dtype=np.float32), np.linspace(-4, 4, 401, dtype=np.float32)
    for name, (loss, color) in LOSSES.items():
        panels[0].plot(logits, loss(logits, jnp.ones_like(logits)), color=color, label=name)
        panels[1].plot(logits, slopes(logits, loss), color=color, label=name)
        panels[2].plot(weights, mean_losses(weights, loss), color=color, label=name)
    panels[0].set(title="Loss of a positive example", xlabel="logit", ylim=(0, 6))
    panels[1].set(title="Its gradient, soon flat for squares", xlabel="logit")
    panels[2].set(title="Mean loss of eight examples", xlabel="weight", ylim=(0, 3))
    panels[0].legend()
    return figure


def main() -> None:
    """Draws as the command line says."""
    options = tyro.cli(Options, prog="python -m train.loss_curves")
    with exit_on(OSError), new_file(options.output) as file:
        draw().savefig(file, format="png", dpi=150)
    print(options.output)


if __name__ == "__main__":
    main()
