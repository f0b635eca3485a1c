"""Densely connected networks: torchvision's, and our own for CIFAR.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections import OrderedDict
from functools import partial

import torch
import torchvision
from torch import nn

from tests.reference.torch_families.reference import Reference

STAGES = ("features.denseblock1", "features.denseblock2", "features.denseblock3")


class LinearOfRecorded(nn.Linear):
    """A linear layer whose input can be recorded."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.input = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layer."""
        return super().forward(self.input(x))


class CopiedReLU(nn.Module):
    """A ReLU whose output may be overwritten."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the larger of each value and zero."""
        return x.relu().clone()


def torchvision_network(build, num_classes: int = 1000) -> nn.Module:
    """A DenseNet of torchvision, in which a second ReLU and the input of the head can be recorded."""
    network = build(num_classes=num_classes)
    network.features.add_module("relu5", CopiedReLU())
    network.classifier = LinearOfRecorded(network.classifier.in_features, num_classes)
    return network


def torchvision_model(build, stages: tuple[str, ...] = STAGES) -> Reference:
    """A DenseNet of torchvision."""
    return Reference(partial(torchvision_network, build), (*stages, "features.relu5"), "classifier.input")


def normalised(channels: int, conv: nn.Conv2d) -> list[nn.Module]:
    """What the paper calls a composite function: normalisation, ReLU, convolution."""
    return [nn.BatchNorm2d(channels), nn.ReLU(), conv]


class DenseLayer(nn.Module):
    """A bottleneck layer (section 3), its output after what it was given."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm1, self.relu1, self.conv1 = normalised(channels, nn.Conv2d(channels, 4 * growth, 1, bias=False))
        conv = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.norm2, self.relu2, self.conv2 = normalised(4 * growth, conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, C + growth, H, W]
        """Applies the layer."""
        y = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(y)))], 1)


def cifar_network(depths: tuple[int, ...], growth: int, num_classes: int = 10) -> nn.Module:
    """The DenseNet-BC of section 3 for CIFAR, with layers called as torchvision calls them."""
    channels = 2 * growth
    layers = OrderedDict(conv0=nn.Conv2d(3, channels, 3, padding=1, bias=False))
    for i, depth in enumerate(depths, start=1):
        block = [(f"denselayer{j + 1}", DenseLayer(channels + j * growth, growth)) for j in range(depth)]
        layers[f"denseblock{i}"] = nn.Sequential(OrderedDict(block))
        channels += depth * growth
        if i < len(depths):
            norm, relu, conv = normalised(channels, nn.Conv2d(channels, channels // 2, 1, bias=False))
            transition = OrderedDict(norm=norm, relu=relu, conv=conv, pool=nn.AvgPool2d(2))
            layers[f"transition{i}"] = nn.Sequential(transition)
            channels //= 2
    layers |= OrderedDict(norm5=nn.BatchNorm2d(channels), relu5=nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(channels, num_classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(layers), pool=pool, classifier=head))


def cifar_model(depths: tuple[int, ...]) -> Reference:
    """A DenseNet-BC for CIFAR of growth rate 12."""
    stages = tuple(f"features.denseblock{i}" for i in range(1, len(depths)))
    return Reference(partial(cifar_network, depths, 12), (*stages, "features.relu5"), "pool")


INFERENCE = {
    **{name: torchvision_model(partial(torchvision.models.get_model, name))
       for name in ("densenet121", "densenet161", "densenet169", "densenet201")},
    "densenet_bc100_12": cifar_model((16, 16, 16)),
}  # fmt: skip

SHORT = {
    "dense": torchvision_model(
        partial(torchvision.models.DenseNet, growth_rate=8, block_config=(3, 2), num_init_features=16),
        ("features.denseblock1",),
    ),
    "dense_cifar": cifar_model((2, 2)),
}
