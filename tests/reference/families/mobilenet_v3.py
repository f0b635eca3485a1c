"""MobileNetV3."""

from functools import partial

import flax.linen as nn

import jaxvision as jv
from jaxvision.cnn.inverted_residual import Block
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"features\.\d+\.block\.(2|3)\.1\.weight")

BLOCKS = (
    Block(3, 16, 16, nn.relu, squeeze_excite=True),
    Block(3, 72, 24, nn.relu, stride=2),
    Block(5, 96, 40, nn.hard_swish, stride=2, squeeze_excite=True),
    Block(5, 120, 40, nn.hard_swish, squeeze_excite=True),
)
TINY_BLOCKS = (
    Block(3, 16, 16, nn.relu),
    Block(3, 32, 8, nn.relu, stride=2),
    Block(5, 16, 8, nn.hard_swish, squeeze_excite=True),
)
network = partial(jv.create_model, "mobilenet_v3_small", dropout_rate=0.0)

FAMILY = Family(
    title="MobileNetV3",
    inference={f"mobilenet_v3_{size}": CASE for size in ("large", "small")},
    short={"mobilenet_v3": CASE},
    networks={"mobilenet_v3": partial(network, blocks=BLOCKS, final_width=240, hidden_width=64)},
    tiny={"mobilenet_v3": Tiny(partial(network, blocks=TINY_BLOCKS, final_width=16, hidden_width=32))},
    stands_for=lambda name: ("mobilenet_v3", "mobilenet_v3"),
    counts={"mobilenet_v3_large": 5_483_032, "mobilenet_v3_small": 2_542_856},  # as torchvision publishes them
)
