"""torchvision's RegNets."""

from functools import partial
from unittest import mock

import torch
import torchvision
from torchvision.models.regnet import BlockParams, RegNet

from tests.reference.families import regnet
from tests.reference.torch_families.reference import Reference

STAGES = tuple(f"trunk_output.block{i}" for i in (1, 2, 3, 4))


def build(name: str, **options) -> RegNet:
    """Builds a RegNet, its widths calculated on the CPU even where its parameters are on the "meta" device."""
    calculate = BlockParams.from_init_params

    def calculate_on_cpu(**design) -> BlockParams:
        with torch.device("cpu"):
            return calculate(**design)

    with mock.patch.object(BlockParams, "from_init_params", calculate_on_cpu):
        return torchvision.models.get_model(name, **options)


def short(**options) -> Reference:
    """A RegNet of two stages."""
    blocks = BlockParams([2, 1], [16, 32], [8, 16], bottleneck_multipliers=[1, 1], strides=[2, 2], **options)
    return Reference(partial(RegNet, blocks), (), "avgpool")


INFERENCE = {name: Reference(partial(build, name), STAGES, "avgpool") for name in regnet.FAMILY.inference}
SHORT = {"regnet_y": short(se_ratio=0.25), "regnet_x": short()}
