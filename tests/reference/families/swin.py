"""Swin Transformers."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

IMAGE = (3, 77, 38)  # windows are padded, and shifted in both directions, then down alone, then not at all
V1 = Case("torchvision", IMAGE, r"features\.\d\.\d+\.(attn\.proj|mlp\.3)\.weight")
V2 = Case("torchvision", IMAGE, r"features\.\d\.\d+\.norm[12]\.weight")
SHORT = (3, 29, 22)
OF_SMALL_PATCHES = (3, 38, 19)  # whose map has as many tokens
ONE_WINDOW = (3, 16, 16)  # in the second stage
SMALL_PATCHES = "swin_tiny_patch2_window4_32"

small = {"depths": (2, 1), "num_heads": (2, 4), "width": 16, "window": 3, "stochastic_depth_rate": 0.0}
short_of_small_patches = small | {"window": 4}
tiny = {"depths": (2,), "num_heads": (2,), "width": 8, "window": 2, "stochastic_depth_rate": 0.0}

COUNTS = {  # what torchvision publishes with its weights
    "swin_t": 28_288_354,
    "swin_s": 49_606_258,
    "swin_b": 87_768_224,
    "swin_v2_t": 28_351_570,
    "swin_v2_s": 49_737_442,
    "swin_v2_b": 87_930_848,
}


def kind(name: str) -> str:
    """Returns the network of `SHORT` and of `TINY` that stands for a registered model."""
    return "swin_small_patches" if name == SMALL_PATCHES else "swin_v2" if "_v2_" in name else "swin"


FAMILY = Family(
    title="Swin Transformer",
    inference={name: V2 if "_v2_" in name else V1 for name in COUNTS}
    | {SMALL_PATCHES: Case("torchvision", OF_SMALL_PATCHES, V1.damped)},
    short={
        "swin": Case("torchvision", SHORT, V1.damped),
        "swin_v2": Case("torchvision", SHORT, V2.damped),
        "swin_small_patches": Case("torchvision", ONE_WINDOW, V1.damped),
    },
    networks={
        "swin": partial(jv.create_model, "swin_t", **small),
        "swin_v2": partial(jv.create_model, "swin_v2_t", **small),
        "swin_small_patches": partial(jv.create_model, SMALL_PATCHES, **short_of_small_patches),
    },
    tiny={
        "swin": Tiny(partial(jv.create_model, "swin_t", **tiny), 16),
        "swin_v2": Tiny(partial(jv.create_model, "swin_v2_t", **tiny), 16),
        "swin_small_patches": Tiny(partial(jv.create_model, SMALL_PATCHES, **tiny)),
    },
    stands_for=lambda name: (kind(name), kind(name)),
    counts=COUNTS,
)
