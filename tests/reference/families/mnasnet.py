"""MNASNet."""

from functools import partial

import jaxvision as jv
from jaxvision.cnn.mnasnet import scaled
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"layers\.\d+\.\d\.layers\.7\.weight")

network = partial(jv.create_model, "mnasnet0_5", dropout_rate=0.0)

FAMILY = Family(
    title="MNASNet",
    inference={f"mnasnet{width}": CASE for width in ("0_5", "0_75", "1_0", "1_3")},
    short={"mnasnet": CASE},
    networks={"mnasnet": partial(network, **scaled(0.5, depths=(1, 1, 2, 1, 1, 1, 1)))},
    tiny={"mnasnet": Tiny(partial(network, **scaled(0.25, depths=(1, 1, 2)), final_width=16))},
    stands_for=lambda name: ("mnasnet", "mnasnet"),
    counts={  # what torchvision publishes with its weights
        "mnasnet0_5": 2_218_512,
        "mnasnet0_75": 3_170_208,
        "mnasnet1_0": 4_383_312,
        "mnasnet1_3": 6_282_256,
    },
)
