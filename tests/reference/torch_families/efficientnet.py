"""torchvision's EfficientNets."""

from functools import partial

import torchvision
from torch import nn
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

from tests.reference.families import efficientnet
from tests.reference.torch_families.reference import Reference


def stages(name: str) -> tuple[str, ...]:
    """The last modules of each resolution."""
    last = 6 if name == "efficientnet_v2_s" else 7
    return tuple(f"features.{i}" for i in (1, 2, 3, 5, last))


short = partial(EfficientNet, dropout=0, stochastic_depth_prob=0, last_channel=24)
BLOCKS = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 16, 2)]
V2_BLOCKS = [
    FusedMBConvConfig(1, 3, 1, 8, 8, 1),
    FusedMBConvConfig(4, 3, 2, 8, 16, 2),
    MBConvConfig(4, 3, 1, 16, 24, 2),
]
NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)

INFERENCE = {
    name: Reference(partial(torchvision.models.get_model, name), stages(name), "avgpool")
    for name in efficientnet.FAMILY.inference
}
SHORT = {
    "efficientnet": Reference(partial(short, BLOCKS), (), "avgpool"),
    "efficientnet_v2": Reference(partial(short, V2_BLOCKS, norm_layer=NORM), (), "avgpool"),
}
