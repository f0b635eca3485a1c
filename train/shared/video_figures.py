"""Figures of what a classifier says of videos, each a function from arrays to a matplotlib figure.

Shapes: T frames, H height, W width, C channels, K classes.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from train.shared.figures import INK, ORANGE, STYLE, WIDTH

MOST_FRAMES = 12


@mpl.rc_context(STYLE)
def told_over_time(examples: Sequence[tuple[np.ndarray, int, np.ndarray]], classes: Sequence[str]) -> Figure:
    """Draws the frames of videos, below each the likeliest class after it and how probable that is.

    Args:
        examples: frames uint8 [T, H, W, C], the label, and the probabilities after each frame [T, K].
        classes: names of the classes.
    """
    columns = min(MOST_FRAMES, max(len(frames) for frames, *_ in examples))
    figure = Figure((WIDTH, len(examples) * (WIDTH / columns + 0.7)), layout="constrained")
    for row, (frames, label, shares) in zip(
        figure.subplots(len(examples), columns, squeeze=False), examples, strict=True
    ):
        for axes in row:
            axes.set_axis_off()
        row[0].set_title(f"true: {classes[label]}", loc="left", fontsize=9)
        chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        for axes, frame, share in zip(row, frames[chosen], shares[chosen], strict=False):
            axes.imshow(frame if frame.shape[-1] == 3 else frame.mean(-1), cmap="gray", vmin=0, vmax=255)
            likeliest = int(share.argmax())
            text, color = f"{classes[likeliest]}\n{share[likeliest]:.0%}", INK if likeliest == label else ORANGE
            axes.text(0.5, -0.05, text, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=color)
    return figure
