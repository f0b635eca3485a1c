"""torchvision's MobileNetV3."""

from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import nn
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.ops import SqueezeExcitation

from tests.reference.torch_families.reference import Reference

config = partial(InvertedResidualConfig, dilation=1, width_mult=1.0)
BLOCKS = [
    config(16, 3, 16, 16, True, "RE", 1),
    config(16, 3, 72, 24, False, "RE", 2),
    config(24, 5, 96, 40, True, "HS", 2),
    config(40, 5, 120, 40, True, "HS", 1),
]
LARGE = ("features.1", "features.3", "features.6", "features.12", "features.15")
SMALL = ("features.1", "features.3", "features.8", "features.11")


class Hardsigmoid(nn.Module):
    """The gradient of PyTorch's own has the constant 1/6 rounded to float32, whatever the type of the computation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the function."""
        return torch.clamp(x + 3, 0, 6) / 6


def exact(build: Callable[..., nn.Module], *arguments, **options) -> Callable[..., nn.Module]:
    """Returns the constructor of a network whose squeeze and excitation has exact gradients."""

    def with_exact_gradients(**fields) -> nn.Module:
        network = build(*arguments, **fields, **options)
        for module in network.modules():
            if isinstance(module, SqueezeExcitation):
                module.scale_activation = Hardsigmoid()
        return network

    return with_exact_gradients


INFERENCE = {
    "mobilenet_v3_large": Reference(exact(torchvision.models.mobilenet_v3_large), LARGE, "classifier.2"),
    "mobilenet_v3_small": Reference(exact(torchvision.models.mobilenet_v3_small), SMALL, "classifier.2"),
}
SHORT = {"mobilenet_v3": Reference(exact(MobileNetV3, BLOCKS, 64, dropout=0.0), (), "")}
