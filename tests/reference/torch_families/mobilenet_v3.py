"""torchvision's MobileNetV3."""

from functools import partial

import torchvision
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

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
POOLED = "classifier.2"

INFERENCE = {
    "mobilenet_v3_large": Reference(torchvision.models.mobilenet_v3_large, LARGE, POOLED),
    "mobilenet_v3_small": Reference(torchvision.models.mobilenet_v3_small, SMALL, POOLED),
}
SHORT = {"mobilenet_v3": Reference(partial(MobileNetV3, BLOCKS, 64, dropout=0.0), (), POOLED)}
