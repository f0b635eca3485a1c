"""Figures of what a captioner says, each a function from arrays to a matplotlib figure.

Shapes: N images, H height, W width, C channels, T words, h and w of the feature map.
"""

import math
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from train.shared.figures import INK, ORANGE, STYLE, WIDTH

COLUMNS = 6
LETTERS = 24  # of a line of a caption
MOST_WORDS = 12


@mpl.rc_context(STYLE)
def captioned_images(
    images: np.ndarray, written: Sequence[str], references: Sequence[Sequence[str]]
) -> Figure:  # [N, H, W, C]
    """Draws images, above each what a model says of it, and below what people say where that is something else."""
    rows = math.ceil(len(images) / COLUMNS)
    figure = Figure((WIDTH, 2.5 * rows), layout="constrained")
    cells = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, said, right in zip(cells, images, written, references, strict=False):
        _show(axes, image)
        color = INK if said in right else ORANGE
        axes.set_title(textwrap.fill(said, LETTERS), color=color, loc="center", fontsize=8.5, fontweight="normal")
        if said not in right:
            text = textwrap.fill(right[0], LETTERS)
            axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=8)
    return figure


@mpl.rc_context(STYLE)
def looks(examples: Sequence[tuple[np.ndarray, Sequence[str], np.ndarray]]) -> Figure:
    """Draws where a decoder looked for each word: dark is nothing, bright the most of that word.

    Args:
        examples: an image [H, W, C], the words, of which the first are drawn, and the share of each place [T, h, w].
    """
    columns = 1 + min(MOST_WORDS, max(len(words) for _, words, _ in examples))
    figure = Figure((WIDTH, len(examples) * (WIDTH / columns + 0.3)), layout="constrained")
    for row, (image, words, shares) in zip(
        figure.subplots(len(examples), columns, squeeze=False), examples, strict=True
    ):
        for axes in row:
            axes.set_axis_off()
        _show(row[0], image)
        height, width = image.shape[:2]
        for axes, word, share in zip(row[1:], words, shares, strict=False):
            axes.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(share, cmap="inferno", vmin=0, alpha=0.65, extent=extent, interpolation="bilinear")
            axes.set_title(word, loc="center", fontsize=8, fontweight="normal")
    return figure


def _show(axes, image: np.ndarray) -> None:  # uint8 [H, W, C]
    axes.imshow(image if image.shape[-1] == 3 else image.mean(-1), cmap="gray", vmin=0, vmax=255)
