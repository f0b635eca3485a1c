"""Memory and time of networks against the area of the image: Swin's windows beside attention to all tokens.

    python -m benchmarks.attention_memory --image-sizes 224 448 896 --output memory.json

Each network is compiled ahead of time for inference of one image: what the program needs beside its arguments is what
XLA says, the time is the best of three runs; on a CPU both are as `benchmarks.attention_length` has them. Of windows
both grow with the area, of attention to all tokens with its square once they are many. Give sizes that are whole
windows and patches: multiples of 224. A file of rows is drawn too, as a PNG file of the same name.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import jaxvision as jv
from benchmarks.attention_length import NO_KERNELS, taken
from benchmarks.timing import save
from jaxvision.ops.arithmetic import multiply_adds
from train.shared.figures import GREY, STYLE, WIDTH


def measure(name: str, image_size: int, dtype: str) -> dict[str, Any]:
    """Returns the row of a network for one image of a size."""
    model = jv.create_model(name, dtype=jnp.dtype(dtype))
    variables, image = jv.init(model, jax.random.key(0)), jnp.zeros((1, image_size, image_size, 3))
    forward = lambda variables, image: model.apply(variables, image, train=False)
    lowered = jax.jit(forward).lower(variables, image)
    plan = lowered.compile(NO_KERNELS if jax.default_backend() == "cpu" else None).memory_analysis()
    compiled = lowered.compile()
    run = lambda: jax.block_until_ready(compiled(variables, image))
    seconds = min(seconds for _, seconds in (taken(run) for _ in range(3)))
    return {
        "model": name,
        "size": image_size,
        "dtype": dtype,
        "memory_megabytes": round(plan.temp_size_in_bytes / 1e6, 1),
        "multiply_adds_billions": round(multiply_adds(forward, variables, image) / 1e9, 2),
        "seconds": float(f"{seconds:.3g}"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Lays rows out, each with its multiples of the row of the same network's smallest image."""
    columns = ("memory_megabytes", "multiply_adds_billions", "seconds")
    lines = [("model", "size", "area", "MB", "", "multiply-adds (G)", "", "s", "")]
    for row in rows:
        first = min((other for other in rows if other["model"] == row["model"]), key=lambda other: other["size"])
        area = f"x{(row['size'] / first['size']) ** 2:.1f}"
        cells = [text for key in columns for text in (f"{row[key]:,}", f"x{row[key] / first[key]:.1f}")]
        lines.append((row["model"], str(row["size"]), area, *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(map("  ".join, cells))


@mpl.rc_context(STYLE)
def draw(content: dict[str, Any]) -> Figure:
    """Draws memory and time of each network and type against the area, and names the power between the largest two."""
    figure = Figure((WIDTH, 4.2), layout="constrained")
    titles = {"memory_megabytes": "memory, MB", "seconds": "time, s"}
    several = len({row["dtype"] for row in content["rows"]}) > 1
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for name, dtype in dict.fromkeys((row["model"], row["dtype"]) for row in content["rows"]):
            of = [row for row in content["rows"] if (row["model"], row["dtype"]) == (name, dtype)]
            sizes, values = np.array(sorted((row["size"], row[key]) for row in of)).T
            label = f"{name}, {dtype}" if several else name
            axes.plot(sizes, values, marker="o", label=label + power(sizes, values))
        axes.set(title=title, xlabel="height and width of the image, pixels", xscale="log", yscale="log")
        sizes = sorted({row["size"] for row in content["rows"]})
        axes.set_xticks(sizes, [f"{size}" for size in sizes])
        axes.minorticks_off()
        axes.legend()
    machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    figure.supxlabel(f"inference of one image; {machine}", fontsize=7, color=GREY)
    return figure


def power(sizes: np.ndarray, values: np.ndarray) -> str:
    """Returns what a label says of the power of the area between the largest two images; of a single one nothing."""
    if len(sizes) < 2:
        return ""
    grown, larger = (np.log(x[-1] / x[-2]) for x in (values, sizes))
    return f": area to the power of {grown / (2 * larger):.2f}"


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], prog="python -m benchmarks.attention_memory"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", default=["swin_t", "vit_small_patch16_224"])
    parser.add_argument("--image-sizes", nargs="+", type=int, default=[224, 448, 896])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--output", type=Path, help="a JSON file of this machine, to which the rows are added")
    options = parser.parse_args()
    if unknown := sorted(set(options.models) - set(jv.list_models())):
        parser.error(f"unknown model {', '.join(unknown)}; `python -m jaxvision list` names them")
    rows = [measure(name, size, options.dtype) for name in options.models for size in options.image_sizes]
    print(table(rows))
    if options.output:
        save(options.output, rows, ("model", "size", "dtype"))
        picture = options.output.with_suffix(".png")
        draw(json.loads(options.output.read_text())).savefig(picture, dpi=110)
        print(picture)


if __name__ == "__main__":
    main()
