"""What an ensemble of classifiers scores as it grows, and pictures of it.

Shapes: M members, N images, K classes.
"""

import itertools
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.shared.figures import BLUE, GREY, ORANGE, STYLE, WIDTH

MOST_SUBSETS = 64
SMALLEST = float(np.finfo(np.float32).tiny)


def score_ensemble(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:  # [M, N, K], [N]
    """Returns loss and accuracy of the mean of the members' probabilities."""
    mean = probabilities.mean(0, dtype=np.float64)
    picked = np.maximum(mean[np.arange(len(labels)), labels], SMALLEST)  # where float32 has left nothing of it
    return {"loss": float(-np.log(picked).mean()), "accuracy": float((mean.argmax(1) == labels).mean())}


def growth(probabilities: np.ndarray, labels: np.ndarray) -> dict[int, list[dict[str, float]]]:  # [M, N, K], [N]
    """Returns the scores of ensembles by their number of members: of every choice of them, or of the first 64."""
    count = len(probabilities)
    choices = lambda size: itertools.islice(itertools.combinations(range(count), size), MOST_SUBSETS)
    return {
        size: [score_ensemble(probabilities[list(chosen)], labels) for chosen in choices(size)]
        for size in range(1, count + 1)
    }


@mpl.rc_context(STYLE)
def draw_growth(probabilities: np.ndarray, labels: np.ndarray) -> Figure:  # [M, N, K], [N]
    """Draws members, and the mean and the range of ensembles of them as they grow."""
    scores = growth(probabilities, labels)
    figure = Figure((WIDTH, 3.8), layout="constrained")
    for axes, metric, title, scale in zip(
        figure.subplots(1, 2),
        ("accuracy", "loss"),
        ("test accuracy (%)", "negative log-likelihood on the test split"),
        (100, 1),
        strict=True,
    ):
        values = [scale * np.array([found[metric] for found in scores[size]]) for size in scores]
        means = [float(found.mean()) for found in values]
        lowest, highest = [found.min() for found in values], [found.max() for found in values]
        axes.fill_between(list(scores), lowest, highest, color=BLUE, alpha=0.15, linewidth=0, label="its range")
        axes.plot(list(scores), means, color=BLUE, marker="o", label=f"ensemble {means[-1]:.4g}")
        axes.scatter(np.ones_like(values[0]), values[0], color=ORANGE, s=18, zorder=3, label="member")
        axes.axhline(means[0], color=GREY, linestyle=":", linewidth=1, label=f"mean member {means[0]:.4g}")
        axes.set(title=title, xlabel="members")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


@mpl.rc_context(STYLE)
def draw_scores(table: Mapping[str, Mapping[str, float]], split: str = "test") -> Figure:
    """Draws error and loss on a split by what was scored, such as sets of weights."""
    figure = Figure((WIDTH, 0.9 + 0.35 * len(table)), layout="constrained")
    for axes, metric, title, scale in zip(
        figure.subplots(1, 2, sharey=True),
        ("accuracy", "loss"),
        (f"{split} error (%)", f"negative log-likelihood on the {split} split"),
        (100, 1),
        strict=True,
    ):
        values = [scale * (1 - s[metric] if metric == "accuracy" else s[metric]) for s in table.values()]
        axes.bar_label(axes.barh(list(table), values, color=BLUE), fmt="%.3g", padding=4, color=GREY)
        axes.margins(0.15, 0.05)
        axes.set(title=title)
        axes.grid(axis="y", visible=False)
    return figure
