"""Recurrent layers forward and with gradients, beside `flax.linen.RNN` and PyTorch's in the same run.

    python -m benchmarks.recurrent --shapes 32x128x256 --output recurrent.json

A shape is batch x steps x width, inputs and hidden units alike, in float32. All are warmed up, then timed round after
round; the medians are compared. The ratio is that of our speed to the faster of the others.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks.timing import Run, medians, save
from benchmarks.work import compiled

KINDS = ("LSTM", "GRU", "RNN")
FLAX_CELLS = {"LSTM": nn.OptimizedLSTMCell, "GRU": nn.GRUCell, "RNN": nn.SimpleCell}


def jax_runs(apply: Callable, variables: Any, x: np.ndarray) -> dict[str, Run]:
    """Returns the runs of a layer `(variables, x) -> outputs`."""
    gradient = jax.grad(lambda variables, x: apply(variables, x).sum(), argnums=(0, 1))
    return {"forward": compiled(apply, variables, x), "gradient": compiled(gradient, variables, x)}


def ours(kind: str, x: np.ndarray, unroll: int) -> dict[str, Run]:
    """Returns the runs of our layer."""
    layer = getattr(jv.layers, kind)(x.shape[-1], unroll=unroll)
    variables = jv.init(layer, jax.random.key(0))
    return jax_runs(lambda variables, x: layer.apply(variables, x, train=False)[0], variables, x)


def flax(kind: str, x: np.ndarray) -> dict[str, Run]:
    """Returns the runs of Flax's layer."""
    layer = nn.RNN(FLAX_CELLS[kind](x.shape[-1]))
    return jax_runs(layer.apply, layer.init(jax.random.key(0), jnp.asarray(x)), x)


def pytorch(kind: str, x: np.ndarray) -> dict[str, Run]:
    """Returns the runs of PyTorch's layer, on its GPU where it has one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = getattr(torch.nn, kind)(x.shape[-1], x.shape[-1], batch_first=True).to(device)
    inputs = torch.from_numpy(x).to(device).requires_grad_()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def forward() -> None:
        with torch.inference_mode():
            layer(inputs)
        wait()

    def gradient() -> None:
        layer.zero_grad()
        inputs.grad = None
        layer(inputs)[0].sum().backward()
        wait()

    return {"forward": forward, "gradient": gradient}


def rows(kind: str, shape: tuple[int, int, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures one kind of layer on one shape."""
    x = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    contenders = {"jaxvision": ours(kind, x, options.unroll), "flax": flax(kind, x)}
    if options.against == "torch":
        contenders["torch"] = pytorch(kind, x)
    found = []
    for work in ("forward", "gradient"):
        seconds = medians({name: runs[work] for name, runs in contenders.items()}, options.seconds)
        others = {name: seconds[name] / seconds["jaxvision"] for name in seconds if name != "jaxvision"}
        milliseconds = {name: float(f"{1000 * value:.4g}") for name, value in seconds.items()}
        ratios = {name: round(value, 2) for name, value in others.items()}
        batch, steps, width = shape
        row = {"kind": kind, "work": work, "batch": batch, "steps": steps, "width": width, "unroll": options.unroll}
        found.append(row | {"milliseconds": milliseconds, "ratios": ratios, "ratio": min(ratios.values())})
    return found


def shape(text: str) -> tuple[int, int, int]:
    """Reads a shape such as 32x128x256."""
    try:
        batch, steps, width = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a shape is BATCHxSTEPSxWIDTH, such as 32x128x256; got {text!r}") from None
    if min(batch, steps, width) < 1:
        raise argparse.ArgumentTypeError(f"batch, steps and width must be 1 or more, got {text!r}")
    return batch, steps, width


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=KINDS, help=", ".join(KINDS))
    parser.add_argument("--shapes", nargs="+", type=shape, default=[(32, 128, 256)], metavar="BxTxD")
    parser.add_argument("--against", choices=("torch", "flax"), default="torch", help="flax: without PyTorch")
    parser.add_argument("--unroll", type=int, default=1, help="steps of our scan that are compiled in a row")
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing for each contender")
    parser.add_argument("--output", type=Path, help="a JSON file of this machine, to which the rows are added")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"unknown kind {', '.join(sorted(unknown))}: there are {', '.join(KINDS)}")
    measured = []
    print(f"{'layer':6} {'work':9} {'B':>4} {'T':>5} {'width':>6}   ms and ratio to ours")
    for size in options.shapes:
        for kind in options.kinds or KINDS:
            for row in rows(kind, size, options):
                measured.append(row)
                times = "  ".join(f"{name} {value:g}" for name, value in row["milliseconds"].items())
                ratios = ", ".join(f"{name} {value:.2f}" for name, value in row["ratios"].items())
                print(f"{kind:6} {row['work']:9} {size[0]:4} {size[1]:5} {size[2]:6}   {times}   {ratios}", flush=True)
    if options.output:
        save(options.output, measured, ("kind", "work", "batch", "steps", "width", "unroll"))


if __name__ == "__main__":
    main()
