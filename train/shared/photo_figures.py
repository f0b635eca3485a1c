"""Figures of what filters and networks make of a photograph, each a function from arrays to a matplotlib figure.

Shapes: H height, W width, C channels, h and w of a kernel or a map, P panels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from train.shared.figures import BLUE, INK, ORANGE, STYLE, WIDTH

CLIPPED = 99.5  # per cent of the values of a picture lie within its range of greys
MOST_CHANNELS = 8
SIGNED, HEAT = "gray", "inferno"


class Box(NamedTuple):
    """The pixels that a value of a feature map depends on: rows and columns, first and last, padding included."""

    top: float
    left: float
    bottom: float
    right: float


class Overlay(NamedTuple):
    """A map over a photograph.

    Attributes:
        values: [h, w].
        extent: left, right, bottom and top edge of the map, as shares of the photograph.
    """

    values: np.ndarray
    extent: tuple[float, float, float, float] = (0, 1, 1, 0)


@mpl.rc_context(STYLE)
def pictures(photo: np.ndarray, answers: Mapping[str, np.ndarray], columns: int = 3) -> Figure:  # [H, W, 3], [h, w]
    """Draws a photograph and what filters answer to it: middle grey is zero."""
    axes = _grid(len(answers) + 1, columns, photo.shape[0] / photo.shape[1])
    axes[0].imshow(photo)
    axes[0].set_title("photograph")
    for cell, (name, answer) in zip(axes[1:], answers.items(), strict=False):
        _signed(cell, answer)
        cell.set_title(name)
    return axes[0].figure


@mpl.rc_context(STYLE)
def bank(kernels: Mapping[str, np.ndarray], answers: Sequence[np.ndarray]) -> Figure:  # P of [h, w], P of [H, W]
    """Draws filters, four to a row, and below each row what they answer to a photograph."""
    rows, (height, width) = math.ceil(len(kernels) / 4), answers[0].shape
    tall = height / width
    figure = Figure((WIDTH, rows * (1.3 + WIDTH / 4 * tall)), layout="constrained")
    cells = figure.subplots(2 * rows, 4, gridspec_kw={"height_ratios": [1.3, WIDTH / 4 * tall] * rows})
    for axes in cells.ravel():
        axes.set_axis_off()
    for index, ((name, kernel), answer) in enumerate(zip(kernels.items(), answers, strict=True)):
        above, below = cells[2 * (index // 4) : 2 * (index // 4) + 2, index % 4]
        _signed(above, kernel)
        above.set_title(name, loc="center", fontweight="normal")
        _signed(below, answer)
    return figure


@mpl.rc_context(STYLE)
def learnt_filter(
    known: np.ndarray, learnt: np.ndarray, errors: np.ndarray, edges: Sequence[np.ndarray]
) -> Figure:  # [h, w], [h, w], [steps], two of [H, W]
    """Draws a known filter and one that was learnt, with the error of the learning and the edges of either."""
    tall = edges[0].shape[0] / edges[0].shape[1]
    figure = Figure((WIDTH, 3.2 + WIDTH / 2 * tall), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, WIDTH / 2 * tall))
    first, second, curve = above.subplots(1, 3)
    for axes, title, kernel in ((first, "known filter", known), (second, "learnt filter", learnt)):
        _signed(axes, kernel, within=np.abs(known).max())
        for row, column in np.ndindex(kernel.shape):
            value = kernel[row, column].round(4) + 0.0  # no -0.0000
            color = "white" if value < 0 else INK
            axes.text(column, row, f"{value:+.4f}", ha="center", va="center", color=color)
        axes.set_title(title)
    curve.semilogy(np.maximum(errors, np.finfo(np.float32).tiny), color=BLUE)
    curve.set(title="squared error, as a share", xlabel="step")
    for axes, name, answer in zip(below.subplots(1, 2), ("known", "learnt"), edges, strict=True):
        _signed(axes, answer)
        axes.set_title(f"edges by the {name} filter")
    return figure


@mpl.rc_context(STYLE)
def stages(photo: np.ndarray, maps: Sequence[np.ndarray]) -> Figure:  # [H, W, 3], of [h, w, C]
    """Draws the channels of each stage that vary most, each from its lowest value to its highest.

    Of a stage of one pixel those furthest from zero are drawn, all on the scale of the stage.
    """
    figure = Figure((WIDTH, WIDTH / (MOST_CHANNELS + 1) * 1.25 * len(maps)), layout="constrained")
    cells = figure.subplots(len(maps), MOST_CHANNELS + 1, squeeze=False)
    for number, (row, stage) in enumerate(zip(cells, maps, strict=True), start=1):
        for axes in row:
            axes.set_axis_off()
        row[0].imshow(photo)
        row[0].set_title(f"stage {number}: {'x'.join(map(str, stage.shape))}", fontsize=8)
        is_pixel = stage.shape[:2] == (1, 1)
        scale = {"vmin": stage.min(), "vmax": stage.max()} if is_pixel else {}
        interest = np.abs(stage[0, 0]) if is_pixel else stage.std((0, 1))
        for axes, channel in zip(row[1:], np.argsort(-interest, kind="stable")[:MOST_CHANNELS], strict=False):
            axes.imshow(stage[..., channel], cmap="viridis", interpolation="nearest", **scale)
            axes.set_title(f"{channel}", loc="center", fontsize=8, fontweight="normal")
    return figure


@mpl.rc_context(STYLE)
def receptive_fields(photo: np.ndarray, boxes: Mapping[str, tuple[Box, Box]]) -> Figure:  # [H, W, 3]
    """Draws, for each stage, what the middle value of its map sees of the photograph, and what its neighbour sees.

    Args:
        photo: [H, W, 3], the image that the network is given.
        boxes: of the two values, by title.
    """
    cells = _grid(len(boxes), min(len(boxes), 5), 1.0)
    height, width = photo.shape[:2]
    for axes, (title, pair) in zip(cells, boxes.items(), strict=False):
        axes.imshow(photo, alpha=0.75)
        for box, style in zip(pair, ({"color": ORANGE}, {"color": BLUE, "linestyle": "--"}), strict=True):
            corner, size = (box.left - 0.5, box.top - 0.5), (box.right - box.left + 1, box.bottom - box.top + 1)
            axes.add_patch(Rectangle(corner, *size, fill=False, linewidth=1.8, **style))
        axes.set(xlim=(-0.1 * width, 1.1 * width), ylim=(1.1 * height, -0.1 * height))
        axes.set_title(title, fontsize=9)
    return cells[0].figure


@mpl.rc_context(STYLE)
def overlays(
    photo: np.ndarray, maps: Mapping[str, Overlay], *, signed: bool = False, columns: int | None = None
) -> Figure:  # [H, W, 3]
    """Draws a photograph, and maps over it, all on one scale: from zero, or with zero in the middle."""
    cells = _grid(len(maps) + 1, columns or len(maps) + 1, photo.shape[0] / photo.shape[1])
    cells[0].imshow(photo)
    cells[0].set_title("photograph")
    (height, width), largest = photo.shape[:2], max(np.abs(overlay.values).max() for overlay in maps.values())
    grey = photo.mean(-1)
    for axes, (title, (values, extent)) in zip(cells[1 : len(maps) + 1], maps.items(), strict=True):
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
        scale: dict[str, Any] = {"cmap": "RdBu_r" if signed else HEAT, "vmin": -largest if signed else 0}
        edges = [share * length - 0.5 for share, length in zip(extent, (width, width, height, height), strict=True)]
        image = axes.imshow(values, vmax=largest, alpha=0.6, extent=edges, interpolation="bilinear", **scale)
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axes.set_title(title)
    cells[0].figure.colorbar(image, ax=cells, shrink=0.8, pad=0.01)
    return cells[0].figure


def _grid(panels: int, columns: int, tall: float) -> list[Axes]:
    """Returns axes without ticks for panels of a height as a share of the width; those left over are gone."""
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    side = min(WIDTH / columns, 4.5)
    figure = Figure((columns * side, rows * (side * tall + 0.3)), layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in cells:
        axes.set_axis_off()
    return cells


def _signed(axes: Axes, values: np.ndarray, within: float | None = None) -> None:
    """Draws values in grey, zero in the middle."""
    largest = np.percentile(np.abs(values), CLIPPED) if within is None else within
    axes.imshow(values, cmap=SIGNED, vmin=-max(largest, 1e-12), vmax=max(largest, 1e-12), interpolation="nearest")
    axes.set_axis_off()
