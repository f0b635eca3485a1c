"""Computes with PyTorch, in float64, what pooling and normalisation are compared with.

`python -m tests.reference.make_layers` writes layers.npz beside this file: for each case the output, and the gradient
of the sum of its squares.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.reference.layer_cases import ADAPTIVE, CEIL, RESPONSE, image

FILE = Path(__file__).with_name("layers.npz")


def results(layer: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # NHWC, as our layers take and give it
    """Returns the output of a layer and the gradient."""
    inputs = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    outputs = layer(inputs)
    outputs.square().sum().backward()
    return tuple(np.moveaxis(tensor.detach().numpy(), 1, -1) for tensor in (outputs, inputs.grad))


def layers() -> dict[str, tuple[nn.Module, np.ndarray]]:
    """Returns PyTorch's layer and the input of each case."""
    found = {}
    for name, (shape, size) in ADAPTIVE.items():
        found[name] = nn.AdaptiveAvgPool2d(size), image(name, shape)
    for name, (shape, kind) in CEIL.items():
        pool = nn.MaxPool2d(3, 2, ceil_mode=True) if kind == "max" else nn.AvgPool2d(3, 2, ceil_mode=True)
        found[name] = pool, image(name, shape)
    for name, (shape, options) in RESPONSE.items():
        theirs = options | {"alpha": options["alpha"] * options["size"]}  # which they divide by the size
        found[name] = nn.LocalResponseNorm(**theirs), image(name, shape)
    return found


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    found = {}
    for name, (layer, x) in layers().items():
        found[f"{name} output"], found[f"{name} gradient"] = results(layer, x)
    return found


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
