"""torchvision's ConvNeXt."""

from functools import partial

import torchvision
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from tests.reference.torch_families.reference import Reference

STAGES = ("features.1", "features.3", "features.5", "features.7")
POOLED = "classifier.1"

INFERENCE = {
    name: Reference(partial(torchvision.models.get_model, name), STAGES, POOLED)
    for name in ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")
}
SHORT = {"convnext": Reference(partial(ConvNeXt, [CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 1)]), (), POOLED)}
