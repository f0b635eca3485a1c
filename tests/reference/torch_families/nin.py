"""Network in Network, written in PyTorch from the authors' definitions for cuda-convnet and Caffe."""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from tests.reference.torch_families.reference import Reference


class GlobalMean(nn.Module):
    """The mean of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, C]
        """Returns it."""
        return x.mean((2, 3))


class ClassMaps(nn.Module):
    """The means of a feature map, which the network itself does not use, beside the map."""

    def __init__(self):
        super().__init__()
        self.mean = GlobalMean()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the map."""
        self.mean(x)
        return x


def max_pool() -> nn.MaxPool2d:
    """Caffe rounds the size of the result up."""
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def network(layers: dict[str, nn.Module], last: int, channels: int, num_classes: int) -> nn.Sequential:
    """Adds a ReLU after each convolution, the class maps and their means."""
    parts: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        parts[name] = layer
        if isinstance(layer, nn.Conv2d):
            parts[f"relu_{name}"] = nn.ReLU()
    parts["features"] = ClassMaps()
    parts[f"cccp{last}"] = nn.Conv2d(channels, num_classes, 1)
    return nn.Sequential(OrderedDict(**parts, relu=nn.ReLU(), mean=GlobalMean()))


def cifar_network(num_classes: int = 10, *, dropout: float = 0.5) -> nn.Sequential:
    """The network for CIFAR-10."""
    layers = {
        "conv1": nn.Conv2d(3, 192, 5, padding=2),
        "cccp1": nn.Conv2d(192, 160, 1),
        "cccp2": nn.Conv2d(160, 96, 1),
        "pool1": max_pool(),
        "drop1": nn.Dropout(dropout),
        "conv2": nn.Conv2d(96, 192, 5, padding=2),
        "cccp3": nn.Conv2d(192, 192, 1),
        "cccp4": nn.Conv2d(192, 192, 1),
        "pool2": nn.AvgPool2d(3, 2, ceil_mode=True),
        "drop2": nn.Dropout(dropout),
        "conv3": nn.Conv2d(192, 192, 3, padding=1),
        "cccp5": nn.Conv2d(192, 192, 1),
    }
    return network(layers, 6, 192, num_classes)


def imagenet_network(num_classes: int = 1000, *, dropout: float = 0.5) -> nn.Sequential:
    """The network of Caffe's zoo."""
    layers = {
        "conv1": nn.Conv2d(3, 96, 11, 4),
        "cccp1": nn.Conv2d(96, 96, 1),
        "cccp2": nn.Conv2d(96, 96, 1),
        "pool1": max_pool(),
        "conv2": nn.Conv2d(96, 256, 5, padding=2),
        "cccp3": nn.Conv2d(256, 256, 1),
        "cccp4": nn.Conv2d(256, 256, 1),
        "pool2": max_pool(),
        "conv3": nn.Conv2d(256, 384, 3, padding=1),
        "cccp5": nn.Conv2d(384, 384, 1),
        "cccp6": nn.Conv2d(384, 384, 1),
        "pool3": max_pool(),
        "drop3": nn.Dropout(dropout),
        "conv4": nn.Conv2d(384, 1024, 3, padding=1),
        "cccp7": nn.Conv2d(1024, 1024, 1),
    }
    return network(layers, 8, 1024, num_classes)


cifar_model = partial(Reference, stages=("pool1", "pool2", "relu_cccp5"), pooled="features.mean")
imagenet_model = partial(Reference, stages=("pool1", "pool2", "pool3", "relu_cccp7"), pooled="features.mean")

INFERENCE = {"nin": cifar_model(cifar_network), "nin_imagenet": imagenet_model(imagenet_network)}
SHORT = {"nin": cifar_model(partial(cifar_network, dropout=0.0))}
