"""Vision Transformers."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

TWO_BLOCKS = {"depth": 2}  # all blocks are alike


def case(layout: str, size: int) -> Case:
    """A network of two blocks, on images of a few patches."""
    return Case(layout, (3, size, size), fields=TWO_BLOCKS | {"image_size": size})


def simple(height: int, width: int) -> Case:
    """The same with positions that are not learnt, for images of any shape."""
    return Case("timm", (3, height, width), fields=TWO_BLOCKS)


TIMM = (
    *("vit_tiny_patch16_224", "vit_small_patch16_224"),
    *(f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")),
)
DISTILLED = tuple(f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base"))
SIMPLE = ("simple_vit_s_16", "simple_vit_b_16")

SMALL = {"patch_size": 8, "depth": 2, "dim": 24, "num_heads": 3}
TINY = {"patch_size": 4, "depth": 1, "dim": 16, "num_heads": 2}
KINDS = {
    "vit": "vit_b_16",
    "vit_distilled": "deit_tiny_distilled_patch16_224",
    "simple_vit": "simple_vit_s_16",
}


def stands_for(name: str) -> tuple[str, str]:
    """Returns the network of `SHORT`, and the one of `TINY` of the same name."""
    kind = "simple_vit" if name in SIMPLE else "vit_distilled" if name in DISTILLED else "vit"
    return kind, kind


FAMILY = Family(
    title="Vision Transformers",
    inference={
        **{f"vit_{size}": case("torchvision", 48) for size in ("b_16", "l_16")},
        **{f"vit_{size}": case("torchvision", 96) for size in ("b_32", "l_32")},
        "vit_h_14": case("torchvision", 42),
        **dict.fromkeys((*TIMM, *DISTILLED), case("timm", 48)),
        "vit_tiny_patch4_32": case("timm", 16),
        **dict.fromkeys(SIMPLE, simple(48, 64)),
    },
    short={
        "vit": Case("torchvision", (3, 24, 24)),
        "vit_distilled": Case("timm", (3, 24, 24)),
        "simple_vit": Case("timm", (3, 24, 16)),
    },
    networks={kind: partial(jv.create_model, name, image_size=24, **SMALL) for kind, name in KINDS.items()},
    tiny={kind: Tiny(partial(jv.create_model, name, image_size=8, **TINY)) for kind, name in KINDS.items()},
    stands_for=stands_for,
    counts={  # what torchvision publishes with its weights
        "vit_b_16": 86_567_656,
        "vit_b_32": 88_224_232,
        "vit_l_16": 304_326_632,
        "vit_l_32": 306_535_400,
        "vit_h_14": 632_045_800,
    },
)
