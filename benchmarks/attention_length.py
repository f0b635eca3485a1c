"""Memory and time of attention against the length, of whole matrices and by chunks.

    python -m benchmarks.attention_length --output benchmarks/results/attention_length_cpu.json

It draws the rows of the file beside it, as a PNG file of the same name. Attention is of one sequence upon itself, with
8 heads of 64 dimensions in float32; its gradient is that of queries, keys and values. Memory is what is needed beside
arguments and results, as XLA plans it ahead of time, and as the process was seen to grow in a run. On a CPU the plan is
made without the kernels of a library (YNNPACK) that XLA gives the product, the softmax and the product to: what these
allocate, a matrix or two of all scores, is in no plan. What is planned to need more than --most-gigabytes is not run.
Growth is seen in the first run; later ones have what that left. The time is the least of three runs, or of one that
takes more than ten seconds, on a CPU that of all its cores, without what other programs took.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.timing import Run, save, timed
from jaxvision.layers.attention import dot_product_attention
from train.shared.figures import BLUE, GREY, ORANGE, STYLE, WIDTH

HEADS, DIM = 8, 64
COLORS = {"xla": BLUE, "chunked": ORANGE}
STYLES = {"forward": "--", "gradient": "-"}
LINUX = Path("/proc/self")
NO_KERNELS = {"xla_cpu_experimental_ynn_fusion_type": ""}  # of YNNPACK, to compile for a CPU


def measure(implementation: str, work: str, length: int, most_bytes: float) -> dict[str, Any]:
    """Returns the row of an implementation, forward or gradient, at a length; without a time if it was not run."""
    attend = partial(dot_product_attention, implementation=implementation)
    gradient = jax.grad(lambda *x: (attend(*x) ** 2).sum(), (0, 1, 2))
    x = tuple(jax.random.normal(key, (1, length, HEADS, DIM)) for key in jax.random.split(jax.random.key(0), 3))
    lowered = jax.jit(attend if work == "forward" else gradient).lower(*x)
    plan = lowered.compile(NO_KERNELS if jax.default_backend() == "cpu" else None).memory_analysis()
    seen = seconds = None
    if plan.temp_size_in_bytes <= most_bytes:
        compiled = lowered.compile()
        run = lambda: jax.block_until_ready(compiled(*x))
        runs = [taken(run)]
        runs += [taken(run) for _ in range(2)] if runs[0][1] <= 10 else []
        seen, seconds = max(0, runs[0][0] - plan.output_size_in_bytes), min(seconds for _, seconds in runs)
    return {
        "implementation": implementation,
        "work": work,
        "length": length,
        "planned_megabytes": round(plan.temp_size_in_bytes / 1e6, 1),
        "seen_megabytes": None if seen is None else round(seen / 1e6, 1),
        "seconds": None if seconds is None else float(f"{seconds:.3g}"),
    }


def taken(run: Run) -> tuple[int, float]:
    """Runs something, and returns by how many bytes the process grew, where Linux tells, and the seconds it took."""
    if jax.default_backend() != "cpu" or not (LINUX / "clear_refs").exists():
        return 0, timed(run)
    (LINUX / "clear_refs").write_text("5")  # forgets the peak so far
    before, begun = _resident("VmRSS"), time.process_time()
    run()
    return _resident("VmHWM") - before, time.process_time() - begun


def _resident(name: str) -> int:
    lines = (LINUX / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def slope(rows: list[dict[str, Any]], key: str) -> float:
    """Returns the power of the length that a figure grows with, over the three longest that have one."""
    points = [(row["length"], row[key]) for row in rows if row[key]][-3:]
    return float(np.polyfit(*np.log2(points).T, 1)[0])


@mpl.rc_context(STYLE)
def draw(content: dict[str, Any]) -> Figure:
    """Draws memory, a cross where it was seen in a run, and time against the length, both in powers."""
    figure = Figure((WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(
        panels, ("planned_megabytes", "seconds"), ("memory, MB (crosses: as seen in a run)", "time, s"), strict=True
    ):
        _curves(axes, content["rows"], key)
        axes.set(title=title, xlabel="length", xscale="log", yscale="log")
        lengths = sorted({row["length"] for row in content["rows"]})
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        if axes.lines:
            axes.legend()
    for row in content["rows"]:
        if row["seen_megabytes"]:
            panels[0].scatter(row["length"], row["seen_megabytes"], 22, COLORS[row["implementation"]], marker="x", lw=1)
    machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    figure.supxlabel(f"one sequence upon itself, {HEADS} heads of {DIM}, float32; {machine}", fontsize=7, color=GREY)
    return figure


def _curves(axes: Axes, rows: list[dict[str, Any]], key: str) -> None:
    for name, work in dict.fromkeys((row["implementation"], row["work"]) for row in rows):
        found = [row for row in rows if (row["implementation"], row["work"]) == (name, work) and row[key]]
        found = sorted(found, key=lambda row: row["length"])
        if found:
            power = f": length to the power of {slope(found, key):.1f}" if len(found) > 1 else ""
            points = [row["length"] for row in found], [row[key] for row in found]
            axes.plot(*points, STYLES[work], color=COLORS[name], label=f"{name}, {work}{power}", marker="o")


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], prog="python -m benchmarks.attention_length"
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=[256, 512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--most-gigabytes", type=float, default=8, help="what needs more is compiled and not run")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file of this machine, for the rows")
    options = parser.parse_args()
    picture = options.output.with_suffix(".png")
    for length in options.lengths:
        works = [(name, work) for name in COLORS for work in STYLES]
        rows = [measure(name, work, length, 1e9 * options.most_gigabytes) for name, work in works]
        save(options.output, rows, ("implementation", "work", "length"))
        for row in rows:
            print("  ".join(f"{value!s:>10}" for value in row.values()), flush=True)
    draw(json.loads(options.output.read_text())).savefig(picture, dpi=110)
    print(picture)


if __name__ == "__main__":
    main()
