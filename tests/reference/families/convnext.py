"""ConvNeXt."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"features\.\d\.\d+\.layer_scale")

FAMILY = Family(
    title="ConvNeXt",
    inference={f"convnext_{size}": CASE for size in ("tiny", "small", "base", "large")},
    short={"convnext": Case("torchvision", (3, 24, 16), CASE.damped)},
    networks={
        "convnext": partial(jv.create_model, "convnext_tiny", depths=(2, 1), widths=(16, 24), stochastic_depth_rate=0.0)
    },
    tiny={
        "convnext": Tiny(
            partial(jv.create_model, "convnext_tiny", depths=(1, 1), widths=(8, 16), stochastic_depth_rate=0.0)
        )
    },
    stands_for=lambda name: ("convnext", "convnext"),
    counts={  # what torchvision publishes with its weights
        "convnext_tiny": 28_589_128,
        "convnext_small": 50_223_688,
        "convnext_base": 88_591_464,
        "convnext_large": 197_767_336,
    },
)
