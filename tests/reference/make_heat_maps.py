"""Computes with PyTorch, in float64, the heat maps that convolutional classifiers are compared with.

`python -m tests.reference.make_heat_maps` writes heat_maps.npz beside this file. Linear layers become `Conv2d` of the
same weights, global means `AvgPool2d` of the size that the map has for images of the network's own size.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.reference import cases
from tests.reference.heat_map_cases import HEAT_MAPS, images
from tests.reference.torch_results import TRAINING, build

FILE = Path(__file__).with_name("heat_maps.npz")


def as_convolutions(layers: Iterable[nn.Module], size: int) -> nn.Sequential:
    """Makes convolutions of linear layers, the first with a kernel of `size` pixels; leaves the others."""
    found = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            conv = nn.Conv2d(layer.in_features // size**2, layer.out_features, size).double()
            conv.load_state_dict({"weight": layer.weight.reshape(conv.weight.shape), "bias": layer.bias})
            layer, size = conv, 1
        found.append(layer)
    return nn.Sequential(*found)


def convolutional(name: str, window: int) -> nn.Sequential:
    """Returns a network as one of convolutions and poolings alone."""
    network = build(cases.TRAINING[name], TRAINING[name]).eval()
    layers = dict(network.named_children())
    if "classifier" in layers:  # torchvision's AlexNet and VGG
        return nn.Sequential(network.features, as_convolutions(network.classifier, window))
    if "flatten" in layers:
        return as_convolutions([part for key, part in layers.items() if key != "flatten"], window)
    pooled = "pool" if "pool" in layers else "mean"
    parts = [nn.AvgPool2d(window, 1) if key == pooled else part for key, part in layers.items()]
    return as_convolutions(parts, 1)


def heat_map(case: str) -> np.ndarray:  # [B, h, w, K]
    """Returns the heat map of a case."""
    name, _, window = HEAT_MAPS[case]
    with torch.no_grad():
        scores = convolutional(name, window)(torch.from_numpy(images(case)).double())
    return np.moveaxis(scores.numpy(), 1, -1)


if __name__ == "__main__":
    np.savez_compressed(FILE, **{case: heat_map(case) for case in HEAT_MAPS})
