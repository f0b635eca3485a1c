"""Pictures of what some options of a classifier's run come to: rates of groups of parameters, a teacher.

Shapes: N images.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from flax.traverse_util import flatten_dict
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train.shared.figures import BLUE, GREEN, GREY, ORANGE, STYLE, WIDTH
from train.shared.metrics import Record
from train.shared.optimizer import group_of

GROUP_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")


def group_changes(start: Any, end: Any, factors: Mapping[str, float]) -> dict[str, float]:
    """Returns the root mean square change of a weight, by group of parameters; those of no group come last.

    Args:
        start, end: the parameters before the first step, and those that are kept.
        factors: as `group_factors` gives them.
    """
    changes: dict[str, list[np.ndarray]] = {group: [] for group in [*factors, ""]}
    before, after = flatten_dict(start, sep="/"), flatten_dict(end, sep="/")
    for path, group in group_of(start, factors).items():
        changes[group].append(np.ravel(np.float64(after[path]) - np.float64(before[path])))
    concatenated = {group: np.concatenate(parts) for group, parts in changes.items() if parts}
    return {group: float(np.sqrt(np.square(change).mean())) for group, change in concatenated.items()}


@mpl.rc_context(STYLE)
def draw_groups(records: Sequence[Record], factors: Mapping[str, float], changes: Mapping[str, float]) -> Figure:
    """Draws the learning rate of each group of parameters over the epochs, and how far its weights have moved.

    Args:
        records: as `read_metrics` gives them.
        factors: as `group_factors` gives them.
        changes: as `group_changes` gives them.
    """
    figure = Figure((WIDTH, max(3.2, 1.2 + 0.35 * len(changes))), layout="constrained")
    rates, moved = figure.subplots(1, 2)
    epochs, rate = zip(*((record["epoch"], record["learning_rate"]) for record in records), strict=True)
    colors = dict(zip(changes, itertools.cycle(GROUP_COLORS)))
    for group, color in colors.items():
        rates.plot(epochs, factors.get(group, 1.0) * np.array(rate), color=color)
    names = [f"{group or 'all others'}, × {factors.get(group, 1.0):g}" for group in changes]
    bars = moved.barh(names, list(changes.values()), color=list(colors.values()))
    labels = [f"{change:.2g}" if change else "as they were" for change in changes.values()]
    moved.bar_label(bars, labels, padding=4, color=GREY)
    moved.invert_yaxis()
    moved.margins(x=0.15)
    moved.grid(axis="y", visible=False)
    rates.set(title="learning rate", xlabel="epoch")
    moved.set(title="root mean square change of a weight")
    return figure


def agreement(answers: np.ndarray, told: np.ndarray, labels: np.ndarray) -> dict[str, float]:  # [N], thrice
    """Returns the shares of the images that a student and its teacher are right and wrong about.

    Args:
        answers, told: the classes that the student and the teacher name.
        labels: the true ones.
    """
    right, knew = answers == labels, told == labels
    cases = {
        "both right": right & knew,
        "student alone right": right & ~knew,
        "teacher alone right": ~right & knew,
        "both wrong, alike": ~right & (answers == told),
        "both wrong, otherwise": ~right & ~knew & (answers != told),
    }
    return {name: float(case.mean()) for name, case in cases.items()}


@mpl.rc_context(STYLE)
def draw_teacher(records: Sequence[Record], taught: float, shares: Mapping[str, float]) -> Figure:
    """Draws the student's accuracy beside its teacher's, and what both say of the test split.

    Args:
        records: of the student, as `read_metrics` gives them.
        taught: the teacher's accuracy on the validation split.
        shares: as `agreement` gives them.
    """
    figure = Figure((WIDTH, 3.2), layout="constrained")
    curve, bars = figure.subplots(1, 2)
    points = [(record["epoch"], record["val/accuracy"]) for record in records if "val/accuracy" in record]
    epochs, accuracies = zip(*points, strict=True)
    curve.plot(epochs, accuracies, color=BLUE, marker="o", label=f"student, at best {max(accuracies):.2%}")
    curve.axhline(taught, color=ORANGE, linestyle="--", label=f"teacher {taught:.2%}")
    curve.set(title="validation accuracy", xlabel="epoch")
    curve.yaxis.set_major_formatter(PercentFormatter(1))
    curve.legend()
    drawn = bars.barh(list(shares), list(shares.values()), color=BLUE)
    bars.bar_label(drawn, [f"{share:.2%}" for share in shares.values()], padding=4, color=GREY)
    bars.invert_yaxis()
    bars.set(title=f"test split: the same answer for {shares['both right'] + shares['both wrong, alike']:.2%}")
    bars.set_xlim(0, 1.15)
    bars.xaxis.set_major_formatter(PercentFormatter(1, 0))
    bars.grid(axis="y", visible=False)
    return figure
