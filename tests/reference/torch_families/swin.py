"""torchvision's Swin Transformers."""

from functools import partial

import torchvision
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from tests.reference.families import swin
from tests.reference.torch_families.reference import Reference

STAGES = ("features.1", "features.3", "features.5", "features.7")
POOLED = "flatten"

short = partial(SwinTransformer, [4, 4], 16, [2, 1], [2, 4], [3, 3], stochastic_depth_prob=0.0)

INFERENCE = {
    name: Reference(partial(torchvision.models.get_model, name), STAGES, POOLED, channels_last=True)
    for name in swin.FAMILY.inference
}
SHORT = {
    "swin": Reference(short, (), POOLED),
    "swin_v2": Reference(partial(short, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), (), POOLED),
}
