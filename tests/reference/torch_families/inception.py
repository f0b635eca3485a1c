"""Inception v3 of torchvision.

Shapes: B batch, C channels, H height, W width, K classes.
"""

import torch
import torchvision
from torch import nn
from torchvision.models.inception import InceptionAux, InceptionC, InceptionE

from tests.reference.torch_families.googlenet import scaled_average
from tests.reference.torch_families.reference import Reference

STAGES = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")


def torchvision_network(num_classes: int = 1000, **options) -> nn.Module:
    """Inception v3 of torchvision, initialised quickly."""
    return torchvision.models.inception_v3(num_classes=num_classes, init_weights=False, **options)


class AuxiliaryHead(InceptionAux):
    """Torchvision's on maps below 17x17, pooled in the same proportions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, K]
        """Returns the logits."""
        x = self.conv1(self.conv0(scaled_average(x, 5, 5, 3)))
        return self.fc(x.mean((2, 3)))


def shortened(num_classes: int = 1000) -> nn.Module:
    """Torchvision's with one block of each kind, without dropout."""
    network = torchvision_network(num_classes, dropout=0.0)
    for name in ("5c", "5d", "6c", "6d", "6e", "7c"):
        setattr(network, f"Mixed_{name}", nn.Identity())
    network.Mixed_6a = torchvision.models.inception.InceptionB(256)
    network.Mixed_6b = InceptionC(736, channels_7x7=128)
    network.AuxLogits = AuxiliaryHead(768, num_classes)
    network.Mixed_7b = InceptionE(1280)
    return network


INFERENCE = {"inception_v3": Reference(torchvision_network, STAGES, "avgpool", auxiliary_weight=0.4)}
SHORT = {"inception_v3_short": Reference(shortened, STAGES, "avgpool", auxiliary_weight=0.4)}
