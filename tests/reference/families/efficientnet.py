"""EfficientNet and EfficientNetV2."""

from functools import partial

import jaxvision as jv
from jaxvision.cnn.efficientnet import Stage
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"features\.(1\.\d+\.block\.2|\d\.\d+\.block\.3)\.1\.weight")
V2 = Case("torchvision", (3, 32, 32), r"features\.(1\.\d+\.block\.0|[23]\.\d+\.block\.1|\d\.\d+\.block\.3)\.1\.weight")
SHORT = (3, 24, 20)

COUNTS = {  # what torchvision publishes with its weights
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_l": 118_515_272,
}

certain = {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0}
efficientnet = partial(
    jv.create_model,
    "efficientnet_b0",
    stages=(Stage("mbconv", 1, 3, 1, 8, 1), Stage("mbconv", 4, 5, 2, 16, 2)),
    stem_width=8,
    final_width=24,
    **certain,
)
efficientnet_v2 = partial(
    jv.create_model,
    "efficientnet_v2_s",
    stages=(Stage("fused", 1, 3, 1, 8, 1), Stage("fused", 4, 3, 2, 16, 2), Stage("mbconv", 4, 3, 1, 24, 2)),
    stem_width=8,
    final_width=24,
    momentum=0.99,
    **certain,
)
tiny = partial(  # it has all parts of both kinds
    jv.create_model,
    "efficientnet_v2_s",
    stages=(Stage("fused", 1, 3, 1, 8, 1), Stage("fused", 2, 3, 2, 16, 1), Stage("mbconv", 2, 3, 1, 16, 1)),
    stem_width=8,
    final_width=16,
    **certain,
)


def kind(name: str) -> str:
    """Returns the network of `SHORT` that stands for a registered model."""
    return "efficientnet_v2" if "_v2_" in name else "efficientnet"


FAMILY = Family(
    title="EfficientNet",
    inference={name: V2 if "_v2_" in name else CASE for name in COUNTS},
    short={
        "efficientnet": Case("torchvision", SHORT, CASE.damped),
        "efficientnet_v2": Case("torchvision", SHORT, V2.damped),
    },
    networks={"efficientnet": efficientnet, "efficientnet_v2": efficientnet_v2},
    tiny={"efficientnet_v2": Tiny(tiny)},
    stands_for=lambda name: (kind(name), "efficientnet_v2"),
    counts=COUNTS,
)
