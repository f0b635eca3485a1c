"""ShuffleNetV2."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32))

network = partial(jv.create_model, "shufflenet_v2_x0_5")

FAMILY = Family(
    title="ShuffleNetV2",
    inference={f"shufflenet_v2_x{width}": CASE for width in ("0_5", "1_0", "1_5", "2_0")},
    short={"shufflenet_v2": CASE},
    networks={"shufflenet_v2": partial(network, widths=(24, 48, 96, 192, 128), depths=(2, 1, 1))},
    tiny={"shufflenet_v2": Tiny(partial(network, widths=(8, 16, 32), depths=(2,)), size=16)},
    stands_for=lambda name: ("shufflenet_v2", "shufflenet_v2"),
    whole=("shufflenet_v2_x0_5",),
    counts={  # what torchvision publishes with its weights
        "shufflenet_v2_x0_5": 1_366_792,
        "shufflenet_v2_x1_0": 2_278_604,
        "shufflenet_v2_x1_5": 3_503_624,
        "shufflenet_v2_x2_0": 7_393_996,
    },
)
