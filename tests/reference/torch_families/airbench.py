"""airbench94, written in PyTorch with the names of https://github.com/KellerJordan/cifar10-airbench."""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from tests.reference.torch_families.reference import Reference


class Group(nn.Module):
    """Two convolutions, the first followed by pooling, each by normalisation and GELU."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out, eps=1e-12, momentum=0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the group."""
        x = nn.functional.gelu(self.norm1(nn.functional.max_pool2d(self.conv1(x), 2)))
        return nn.functional.gelu(self.norm2(self.conv2(x)))


class Scale(nn.Module):
    """Divides by 9."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns a ninth."""
        return x / 9


def network(widths: tuple[int, int, int] = (64, 256, 256), num_classes: int = 10) -> nn.Sequential:
    """The whitening convolution, three groups, pooling and a linear layer without bias.

    The original divides the logits by 9; here, as in ours, it is the features, so that they can be compared.
    """
    groups = [Group(*channels) for channels in zip((24, *widths[:2]), widths, strict=True)]
    layers = [nn.Conv2d(3, 24, 2), nn.GELU(), *groups, nn.MaxPool2d(3), nn.Flatten()]
    named = {str(index): layer for index, layer in enumerate(layers)}
    return nn.Sequential(OrderedDict({**named, "scale": Scale(), "7": nn.Linear(widths[-1], num_classes, bias=False)}))


STAGES = ("2", "3", "4")
INFERENCE = {"airbench94": Reference(network, STAGES, "scale")}
SHORT = {"airbench": Reference(partial(network, (8, 16, 16)), STAGES, "scale")}
