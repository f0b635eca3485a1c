"""GoogLeNet in its two forms."""

from functools import partial

import jaxvision as jv
from jaxvision.cnn.googlenet import BLOCKS
from tests.reference.case import Case, Family, Tiny

TORCHVISION = Case("torchvision", (3, 48, 48))
PAPER = Case("torch", (3, 48, 48))

NARROW = (8, 8, 8, 8, 8, 8)
SHORT_BLOCKS = tuple(
    tuple((name, widths) for name, widths in blocks if name in ("3a", "4a", "4d", "5a")) for blocks in BLOCKS
)
TINY_BLOCKS = ((("3a", NARROW),), (("4a", NARROW), ("4d", NARROW)), (("5a", NARROW),))

undropped = {"dropout": 0.0, "dropout_aux": 0.0}
short = {"blocks": SHORT_BLOCKS, **undropped}
tiny = {"blocks": TINY_BLOCKS, **undropped}

FAMILY = Family(
    title="GoogLeNet",
    inference={"googlenet": TORCHVISION, "googlenet_paper": PAPER},
    short={"inception": TORCHVISION, "inception_paper": PAPER},
    networks={
        "inception": partial(jv.create_model, "googlenet", **short),
        "inception_paper": partial(jv.create_model, "googlenet_paper", **short),
    },
    tiny={
        "inception": Tiny(partial(jv.create_model, "googlenet", **tiny), size=32),
        "inception_paper": Tiny(partial(jv.create_model, "googlenet_paper", **tiny), size=32),
    },
    stands_for=lambda name: ("inception_paper",) * 2 if name == "googlenet_paper" else ("inception",) * 2,
    counts={
        "googlenet": 13_004_888,  # torchvision publishes 6,624,904, without the auxiliary heads
        "googlenet_paper": 13_378_280,  # Caffe's bvlc_googlenet in training
    },
)
