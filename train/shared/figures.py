"""Figures of a training run, each a function from arrays to a matplotlib figure.

The colours of lines are Okabe and Ito's, which people with any colour vision can tell apart. Shapes: N images,
H height (or heads), W width, C channels, K classes, F filters, T tiles (or target tokens), S source tokens.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train.shared.metrics import Record

BLUE, ORANGE, GREEN, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#1F2933", "#5F6B7A"
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#C5CDD6",
    "axes.labelcolor": GREY,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8ECF0",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}
WIDTH = 11.0  # inches
MOST_MARKERS = 40
MOST_ANNOTATED = 30  # classes whose counts can be read in the cells of a matrix
MOST_IN_MATRIX = 120  # classes whose names can be read beside one
MOST_PAIRS = 25
MOST_HEADS_IN_ROW = 5  # with the mean
MOST_IMAGES = 24
MOST_TILES = 64


@mpl.rc_context(STYLE)
def learning_curves(records: Sequence[Record], best: float | None = None) -> Figure:
    """Draws each metric of the validation, and the same in training, over the epochs, and the learning rate.

    Args:
        records: as `read_metrics` gives them; the log's names of metrics are `train/...` and `val/...`.
        best: the epoch whose weights are kept, marked by a line; None for no mark.
    """
    validated = [name.removeprefix("val/") for record in records for name in record if name.startswith("val/")]
    panels = [*dict.fromkeys(["loss", *validated]), "learning_rate"]
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure = Figure((WIDTH, 3.2 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, axes in enumerate(cells):
        if index < len(panels):
            _curves(axes, panels[index], records, best)
        else:
            axes.set_axis_off()
    return figure


def _curves(axes: Axes, metric: str, records: Sequence[Record], best: float | None) -> None:
    drawn = []
    if best is not None:
        axes.axvline(best, color=GREY, linestyle=":", label=f"kept: epoch {best:.4g}")
    for name, label, color in (
        (f"train/{metric}", "train", BLUE),
        (f"val/{metric}", "val", ORANGE),
        (metric, "", GREEN),
    ):
        points = [(record["epoch"], record[name]) for record in records if name in record]
        if points:
            epochs, values = zip(*points, strict=True)
            drawn += values
            marker = "o" if len(points) <= MOST_MARKERS else None
            axes.plot(epochs, values, color=color, marker=marker, label=f"{label} {values[-1]:.4g}")
    if metric == "loss" and min(drawn, default=0) > 0 and max(drawn) > 30 * min(drawn):
        axes.set_yscale("log")
    axes.set(title=metric.replace("_", " "), xlabel="epoch")
    if metric != "learning_rate" and drawn:
        axes.legend()


@mpl.rc_context(STYLE)
def class_shares(counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:  # of [K]
    """Draws the share of each class in each split.

    Args:
        counts: by name of the split, how many images of each class [K] it has.
        classes: names of the K classes.
    """
    figure = Figure((WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    for shift, ((name, number), color) in enumerate(zip(counts.items(), (BLUE, ORANGE, GREEN), strict=True), start=-1):
        places = np.arange(len(classes)) + 0.27 * shift
        axes.bar(places, number / number.sum(), width=0.25, color=color, label=f"{name} ({number.sum():,})")
    if len(classes) <= MOST_IN_MATRIX:
        axes.set_xticks(range(len(classes)), classes, rotation=90 if len(classes) > 12 else 0)
    axes.set(title="Share of each class", ylabel="of the split")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside right upper")
    return figure


@mpl.rc_context(STYLE)
def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:  # [K, K]
    """Draws how often each class was taken for each; of very many classes, the pairs confused most.

    Args:
        counts: [K, K], rows are the true classes, columns the predicted ones.
        classes: names of the K classes.
    """
    if len(classes) > MOST_IN_MATRIX:
        return confused_pairs(counts, classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = float(np.interp(len(classes), (2, MOST_ANNOTATED), (4, WIDTH)))
    figure = Figure((size, 0.88 * size), layout="constrained")
    axes = figure.subplots()
    # The square root of the share as colour: a class lost one time in a hundred is still to be seen.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    ticks = {"ticks": range(len(classes)), "labels": classes, "fontsize": min(9, 700 / len(classes))}
    axes.set_xticks(rotation=90 if max(map(len, classes)) > 2 else 0, **ticks)
    axes.set_yticks(**ticks)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(False)
    if len(classes) <= MOST_ANNOTATED:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.3 else INK
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=8)
    bar = {"shrink": 0.5, "ticks": (0, 0.01, 0.05, 0.2, 0.5, 1), "format": PercentFormatter(1, 0)}
    figure.colorbar(image, label="share of the true class", **bar)
    return figure


@mpl.rc_context(STYLE)
def confused_pairs(counts: np.ndarray, classes: Sequence[str]) -> Figure:  # [K, K]
    """Draws the pairs of classes confused most often, as a share of the images of the true class.

    Args:
        counts: [K, K], rows are the true classes, columns the predicted ones.
        classes: names of the K classes.
    """
    errors = counts - np.diag(np.diag(counts))
    most = np.argsort(-errors, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(index), len(classes)) for index in most if errors.flat[index] > 0]
    if not pairs:
        return _sentence("No class was taken for another.")
    figure = Figure((WIDTH, 0.8 + 0.24 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(1)
    bars = axes.barh(
        [f"{classes[true]}  taken for  {classes[predicted]}" for true, predicted in pairs],
        [errors[true, predicted] / totals[true] for true, predicted in pairs],
        color=BLUE,
    )
    axes.bar_label(bars, [f"{errors[pair]} of {totals[pair[0]]}" for pair in pairs], padding=4, color=GREY)
    axes.invert_yaxis()
    axes.margins(0.1, 0.01)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set(xlabel="share of the true class")
    axes.grid(axis="y", visible=False)
    return figure


@mpl.rc_context(STYLE)
def alignments(examples: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]]) -> Figure:
    """Draws how much each source token counted for each token that was written: white is nothing, dark is all.

    Args:
        examples: the source, what was written, and the shares [T, S], of which the first tokens are drawn.
    """
    columns = min(len(examples), 2)
    rows = math.ceil(len(examples) / columns)
    longest = max(len(written) for _, written, _ in examples)
    figure = Figure((WIDTH, rows * (1.1 + 0.17 * longest)), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[len(examples) :]:
        axes.set_axis_off()
    for axes, (source, written, shares) in zip(cells, examples, strict=False):
        _alignment(axes, source, written, shares)
    return figure


def _alignment(axes: Axes, source: Sequence[str], written: Sequence[str], shares: np.ndarray) -> None:
    axes.imshow(shares[: len(written), : len(source)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    upright = max(map(len, source)) == 1
    axes.set_xticks(range(len(source)), source, rotation=0 if upright else 90, fontsize=8)
    axes.set_yticks(range(len(written)), written, fontsize=8)
    axes.xaxis.tick_top()
    axes.grid(False)


@mpl.rc_context(STYLE)
def heads(examples: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]]) -> Figure:
    """Draws alignments of each head, those of a sentence after their mean; of one head as `alignments` does.

    Args:
        examples: the source, what was written, and the shares of each head, [H, T, S], in all as many heads.
    """
    number = len(examples[0][2])
    if number == 1:
        return alignments([(source, written, shares[0]) for source, written, shares in examples])
    columns = min(number + 1, MOST_HEADS_IN_ROW)
    rows = math.ceil((number + 1) / columns)
    heights = [1.3 + 0.17 * len(written) for _, written, _ in examples]
    figure = Figure((WIDTH, rows * sum(heights)), layout="constrained")
    parts = figure.subfigures(len(examples), height_ratios=heights, squeeze=False).ravel()
    for part, (source, written, shares) in zip(parts, examples, strict=True):
        cells = part.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes in cells[number + 1 :]:
            axes.set_axis_off()
        for head, axes in enumerate(cells[: number + 1]):
            _alignment(axes, source, written, shares[head - 1] if head else shares.mean(0))
            axes.set_title(f"head {head}" if head else "mean of the heads")
    return figure


@mpl.rc_context(STYLE)
def bars_by_length(scores: Mapping[str, tuple[float, int]], label: str) -> Figure:
    """Draws a score, and how many sentences it is of, by what their lengths are."""
    figure = Figure((WIDTH / 2, 2.8), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(scores), [value for value, _ in scores.values()], color=BLUE)
    axes.bar_label(bars, [f"{value:.3g}\nof {count:,}" for value, count in scores.values()], color=GREY, fontsize=8)
    axes.margins(y=0.25)
    axes.set(xlabel="tokens of the source", ylabel=label)
    axes.grid(axis="x", visible=False)
    return figure


@mpl.rc_context(STYLE)
def wrong_images(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray, confidences: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Draws the images that the model is surest of and wrong about: above what it says, below what is true.

    Args:
        images: uint8 [N, H, W, C]; C other than 3 is shown as the mean over channels, in grey.
        labels: [N].
        predictions: [N].
        confidences: [N], the probability that the model gives its prediction.
        classes: names of the classes.
    """
    wrong = np.flatnonzero(labels != predictions)
    wrong = wrong[np.argsort(-confidences[wrong], kind="stable")][:MOST_IMAGES]
    if not len(wrong):
        return _sentence("No image is classified wrongly.")
    columns = min(len(wrong), 8)
    rows = math.ceil(len(wrong) / columns)
    figure = Figure((WIDTH / 8 * columns, 1.9 * rows))
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.15 / rows, top=1 - 0.15 / rows, wspace=0.06, hspace=0.45)
    for axes in cells:
        axes.set_axis_off()
    for axes, index in zip(cells, wrong, strict=False):
        axes.imshow(_rgb(images[index] / 255))
        said = f"{_short(classes[predictions[index]])}, {confidences[index]:.0%}"
        axes.set_title(said, color=ORANGE, loc="center", fontsize=8.5, pad=4)
        truth = f"true: {_short(classes[labels[index]])}"
        axes.text(0.5, -0.04, truth, transform=axes.transAxes, ha="center", va="top")
    return figure


@mpl.rc_context(STYLE)
def filters(kernel: np.ndarray) -> Figure:  # [H, W, C, F]
    """Draws the filters of a first convolution, each scaled by its largest weight: middle grey is zero.

    Args:
        kernel: [H, W, C, F]; C other than 3 is shown as the mean over channels, in grey.
    """
    tiles = _rgb(np.moveaxis(kernel, -1, 0)[:MOST_TILES])
    largest = np.abs(tiles).max((1, 2, 3), keepdims=True)
    return _mosaic(0.5 + 0.5 * tiles / np.maximum(largest, 1e-12), kernel.shape[-1], "filters")


@mpl.rc_context(STYLE)
def feature_maps(maps: np.ndarray) -> Figure:  # [H, W, C]
    """Draws the channels of a feature map of one image, each from its lowest value (dark) to its highest."""
    tiles = np.moveaxis(maps, -1, 0)[:MOST_TILES]
    lowest, highest = (reduce(tiles, (1, 2), keepdims=True) for reduce in (np.min, np.max))
    scaled = (tiles - lowest) / np.maximum(highest - lowest, 1e-12)
    return _mosaic(mpl.colormaps["viridis"](scaled)[..., :3], maps.shape[-1], "channels")


def _mosaic(tiles: np.ndarray, total: int, noun: str) -> Figure:  # [T, H, W, 3]
    """Lays tiles in one image (an axes for each would take seconds to draw)."""
    count, height, width, _ = tiles.shape
    columns = min(count, 16)
    rows = math.ceil(count / columns)
    gap = max(1, round(width * 0.06))
    canvas = np.ones((rows * (height + gap), columns * (width + gap), 3))
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = tile
    side = min(WIDTH / columns, 1.2)
    figure = Figure((columns * side, rows * side * height / width + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas[:-gap, :-gap], interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"{count} {noun}" if count == total else f"the first {count} of {total} {noun}", fontweight="normal")
    return figure


def _rgb(images: np.ndarray) -> np.ndarray:  # [..., C] -> [..., 3]
    return images if images.shape[-1] == 3 else np.repeat(images.mean(-1, keepdims=True), 3, -1)


def _sentence(text: str) -> Figure:
    figure = Figure((WIDTH, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"
