"""Memory and time of networks against the area of the image: Swin's windows beside attention to all tokens.

    python -m benchmarks.attention_memory --image-sizes 224 448 896 --output memory.json

Each network is compiled ahead of time for inference of one image: what the program needs beside its arguments is what
XLA says, the time is the best of three runs. Of windows both grow with the area, of attention to all tokens with its
square once they are many. Give sizes that are whole windows and patches: multiples of 224.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxvision as jv
from benchmarks.timing import save, timed
from jaxvision.ops.arithmetic import multiply_adds


def measure(name: str, image_size: int, dtype: str) -> dict[str, Any]:
    """Returns the row of a network for one image of a size."""
    model = jv.create_model(name, dtype=jnp.dtype(dtype))
    variables, image = jv.init(model, jax.random.key(0)), jnp.zeros((1, image_size, image_size, 3))
    forward = lambda variables, image: model.apply(variables, image, train=False)
    compiled = jax.jit(forward).lower(variables, image).compile()
    seconds = min(timed(lambda: jax.block_until_ready(compiled(variables, image))) for _ in range(3))
    return {
        "model": name,
        "size": image_size,
        "dtype": dtype,
        "memory_megabytes": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1),
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


if __name__ == "__main__":
    main()
