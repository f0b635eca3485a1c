"""Pictures of a search for hyperparameters."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.shared.figures import BLUE, GREEN, GREY, ORANGE, STYLE, WIDTH
from train.shared.space import SAMPLERS, Choices, Space, Trial, expected_best

COLORS = {"grid": ORANGE, "random": BLUE, "qmc": "#56B4E9", "tpe": GREEN, "cmaes": "#CC79A7", "nsgaii": "#E69F00"}


@mpl.rc_context(STYLE)
def draw_importance(shares: dict[str, float]) -> Figure:
    """Draws the share of each hyperparameter, the largest first."""
    figure = Figure((WIDTH, 0.9 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    order = sorted(shares, key=shares.get)
    bars = axes.barh([name.replace("_", " ") for name in order], [100 * shares[name] for name in order], color=BLUE)
    axes.bar_label(bars, fmt="%.0f %%", padding=4, color=GREY)
    axes.set(xlabel="share of the variance (%)", xlim=(0, 105))
    axes.grid(axis="y", visible=False)
    return figure


@mpl.rc_context(STYLE)
def draw_trials(space: Space, trials: Sequence[Trial]) -> Figure:
    """Draws the score of every trial against each hyperparameter."""
    columns = min(len(space), 3)
    rows = math.ceil(len(space) / columns)
    figure = Figure((WIDTH, 3.2 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes in cells[len(space) :]:
        axes.set_axis_off()
    for axes, (name, dimension) in zip(cells, space.items(), strict=False):
        choices = [str(value) for value in dimension.values] if isinstance(dimension, Choices) else None
        kinds = list(dict.fromkeys(trial["search"] for trial in trials))
        for number, kind in enumerate(kinds):
            found = [trial for trial in trials if trial["search"] == kind]
            beside = 0.12 * (number - (len(kinds) - 1) / 2)
            values = [trial["parameters"][name] for trial in found]
            x = [choices.index(str(value)) + beside for value in values] if choices else values
            y = [100 * trial["score"] for trial in found]
            axes.scatter(x, y, color=COLORS[kind], s=20, alpha=0.8, label=kind)
        if choices:
            axes.set_xticks(range(len(choices)), choices)
            axes.set_xlim(-0.5, len(choices) - 0.5)
        elif dimension.log:
            axes.set_xscale("log")
            axes.set_xlim(dimension.low / 1.2, 1.2 * dimension.high)
        axes.set(xlabel=name.replace("_", " "))
    for axes in cells[::columns]:
        axes.set_ylabel("validation accuracy (%)")
    figure.legend(*cells[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


@mpl.rc_context(STYLE)
def draw_searches(trials: Sequence[Trial]) -> Figure:
    """Draws the best score after so many trials: of Optuna's samplers, whose order counts, their own, else expected."""
    figure = Figure((WIDTH * 0.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(trial["search"] for trial in trials):
        found = sorted((trial for trial in trials if trial["search"] == kind), key=lambda trial: trial["number"])
        scores = [100 * trial["score"] for trial in found]
        best = np.maximum.accumulate(scores) if kind in SAMPLERS else expected_best(scores)
        label = f"{kind}, {'as tried' if kind in SAMPLERS else 'expected'}: {best[-1]:.2f} of {len(scores)}"
        axes.plot(range(1, len(scores) + 1), best, color=COLORS[kind], marker="o", label=label)
    axes.set(xlabel="trials", ylabel="best validation accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper")
    return figure
