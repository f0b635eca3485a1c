"""torchvision's Swin Transformers."""

from functools import partial

import torchvision
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from tests.reference.families import swin
from tests.reference.torch_families.reference import Reference

STAGES = ("features.1", "features.3", "features.5", "features.7")
POOLED = "flatten"

short = partial(SwinTransformer, [4, 4], 16, [2, 1], [2, 4], [3, 3], stochastic_depth_prob=0.0)
small_patches = partial(SwinTransformer, [2, 2], window_size=[4, 4], mlp_ratio=2.0)
of_small_patches = partial(small_patches, 96, [2, 6, 4], [3, 6, 12], stochastic_depth_prob=0.1, num_classes=10)

INFERENCE = {
    name: Reference(partial(torchvision.models.get_model, name), STAGES, POOLED, channels_last=True)
    for name in swin.COUNTS
} | {swin.SMALL_PATCHES: Reference(of_small_patches, STAGES[:3], POOLED, channels_last=True)}
SHORT = {
    "swin": Reference(short, (), POOLED),
    "swin_v2": Reference(partial(short, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), (), POOLED),
    "swin_small_patches": Reference(partial(small_patches, 16, [2, 1], [2, 4], stochastic_depth_prob=0.0), (), POOLED),
}
