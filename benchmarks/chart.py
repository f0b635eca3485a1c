"""Draws measured speeds: `python -m benchmarks.chart benchmarks/results/cpu.json`.

It makes the file of the same name that ends in .png: for each model our images/s over those of the best of PyTorch.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLORS = {"infer": "#4c72b0", "train": "#dd8452"}


def draw(content: dict[str, Any]) -> Figure:
    """Returns bars of the ratios, a group for each model, with a line where both are as fast."""
    rows = [row for row in content["rows"] if "ratio" in row]
    names = list(dict.fromkeys((row["model"], row["batch"], row["size"], row["dtype"]) for row in rows))
    figure = Figure(figsize=(8, 1 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, (work, color) in zip((-0.2, 0.2), COLORS.items(), strict=True):
        found = {(row["model"], row["batch"], row["size"], row["dtype"]): row for row in rows if row["work"] == work}
        places = [names.index(name) + offset for name in found]
        bars = axes.barh(places, [row["ratio"] for row in found.values()], 0.38, color=color, label=work)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{n}, {batch} x {size} px, {dtype}" for n, batch, size, dtype in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("images/s over those of PyTorch, the better of eager and compiled")
    axes.set_title(", ".join(f"{name} {value}" for name, value in content["machine"].items()), fontsize=8)
    axes.legend(loc="lower right")
    return figure


def main() -> None:
    """Draws the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="python -m benchmarks.chart")
    parser.add_argument("file", type=Path, help="JSON, as benchmarks.throughput writes it")
    file = parser.parse_args().file
    picture = file.with_suffix(".png")
    draw(json.loads(file.read_text())).savefig(picture, dpi=110)
    print(picture)


if __name__ == "__main__":
    main()
