"""MobileNetV2."""

from functools import partial

import flax.linen as nn

import jaxvision as jv
from jaxvision.cnn.inverted_residual import Row, blocks_of
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"features\.\d+\.conv\.3\.weight")


def network(rows: tuple[Row, ...], **fields):
    """Returns the constructor of a network of other blocks and without dropout."""
    blocks = blocks_of(rows, 32, nn.relu6)
    return partial(jv.create_model, "mobilenet_v2", blocks=blocks, dropout_rate=0.0, **fields)


FAMILY = Family(
    title="MobileNetV2",
    inference={"mobilenet_v2": CASE},
    short={"mobilenet_v2_short": CASE},
    networks={"mobilenet_v2_short": network((Row(1, 16, 1, 1), Row(6, 24, 2, 2), Row(6, 32, 1, 2)))},
    tiny={"mobilenet_v2_tiny": Tiny(network((Row(1, 8, 1, 1), Row(2, 16, 2, 2)), final_width=16))},
    stands_for=lambda name: ("mobilenet_v2_short", "mobilenet_v2_tiny"),
    counts={"mobilenet_v2": 3_504_872},  # what torchvision publishes with its weights
)
