"""AlexNet, torchvision's and the paper's."""

import dataclasses
from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

TORCHVISION = Case("torchvision", (3, 95, 127))  # a map of 2x3 pixels, averaged to 6x6
PAPER = Case("caffe", (3, 227, 227))
SMALL_PAPER = Case("caffe", (3, 99, 131))
narrowed = {"fc_dim": 256}

short = {"fc_dim": 32, "dropout": 0.0}
NETWORKS = {
    "alexnet_narrow": partial(jv.create_model, "alexnet", **short),
    "alexnet_paper_narrow": partial(jv.create_model, "alexnet_paper", **short),
    "alexnet_pool_first": partial(jv.create_model, "alexnet_paper", response_norm="after_pool", **short),
}

tiny = partial(jv.create_model, "alexnet_paper", widths=(8, 16, 8, 8, 8), fc_dim=16, dropout=0.0)

FAMILY = Family(
    title="AlexNet",
    inference={
        "alexnet": dataclasses.replace(TORCHVISION, fields=narrowed),
        "alexnet_paper": dataclasses.replace(PAPER, fields=narrowed),
    },
    short={"alexnet_narrow": TORCHVISION, "alexnet_paper_narrow": SMALL_PAPER, "alexnet_pool_first": SMALL_PAPER},
    networks=NETWORKS,
    tiny={"alexnet_paper_narrow": Tiny(tiny, size=67)},
    stands_for=lambda name: (f"{name}_narrow", "alexnet_paper_narrow"),  # which has all parts of the other
    counts={"alexnet": 61_100_840, "alexnet_paper": 60_965_224},  # torchvision's metadata; the paper says 60 million
)
