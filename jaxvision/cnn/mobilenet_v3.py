"""MobileNetV3: Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le and Adam, 2019.

"Searching for MobileNetV3", https://arxiv.org/abs/1905.02244; defaults are torchvision's, in which squeeze and
excitation has a quarter of the channels rounded to a multiple of 8.
"""

from functools import partial
from typing import Any

import flax.linen as nn

from jaxvision.classifier import classifier
from jaxvision.cnn.inverted_residual import Block, InvertedResidualNetwork, conv_norm_names
from jaxvision.layers.initializers import small_normal_linear
from jaxvision.weights.names import Line


class MobileNetV3(InvertedResidualNetwork):
    """A network of inverted residual blocks, under the names of torchvision's MobileNetV3."""

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files."""
        last = len(self.blocks) + 1
        names = {
            **conv_norm_names("stem", "features.0.0", "features.0.1"),
            **conv_norm_names("final/conv_norm", f"features.{last}.0", f"features.{last}.1"),
            "hidden": "classifier.0",
            "head": "classifier.3",
        }
        for n, (name, block, in_width) in enumerate(self.named_blocks(), start=1):
            has = {"expand": block.expanded != in_width, "se": block.squeeze_excite}
            layers = [layer for layer in ("expand", "depthwise", "se", "project") if has.get(layer, True)]
            for k, layer in enumerate(layers):
                ours, theirs = f"{name}/{layer}", f"features.{n}.block.{k}"
                if layer == "se":
                    names[f"{ours}/fc{{i}}"] = Line(f"{theirs}.fc{{i}}", transform="dense_as_1x1_conv")
                else:
                    names |= conv_norm_names(ours, f"{theirs}.0", f"{theirs}.1")
        return {"torchvision": names}


_mobilenet_v3 = partial(
    classifier,
    MobileNetV3,
    stem_width=16,
    activation=nn.hard_swish,
    epsilon=1e-3,
    momentum=0.99,
    head_init=small_normal_linear,
)

RE, HS = nn.relu, nn.hard_swish

LARGE = (  # table 1
    Block(kernel_size=3, expanded=16, width=16, activation=RE),
    Block(3, 64, 24, RE, stride=2),
    Block(3, 72, 24, RE),
    Block(5, 72, 40, RE, stride=2, squeeze_excite=True),
    Block(5, 120, 40, RE, squeeze_excite=True),
    Block(5, 120, 40, RE, squeeze_excite=True),
    Block(3, 240, 80, HS, stride=2),
    Block(3, 200, 80, HS),
    Block(3, 184, 80, HS),
    Block(3, 184, 80, HS),
    Block(3, 480, 112, HS, squeeze_excite=True),
    Block(3, 672, 112, HS, squeeze_excite=True),
    Block(5, 672, 160, HS, stride=2, squeeze_excite=True),
    Block(5, 960, 160, HS, squeeze_excite=True),
    Block(5, 960, 160, HS, squeeze_excite=True),
)

SMALL = (  # table 2
    Block(kernel_size=3, expanded=16, width=16, activation=RE, stride=2, squeeze_excite=True),
    Block(3, 72, 24, RE, stride=2),
    Block(3, 88, 24, RE),
    Block(5, 96, 40, HS, stride=2, squeeze_excite=True),
    Block(5, 240, 40, HS, squeeze_excite=True),
    Block(5, 240, 40, HS, squeeze_excite=True),
    Block(5, 120, 48, HS, squeeze_excite=True),
    Block(5, 144, 48, HS, squeeze_excite=True),
    Block(5, 288, 96, HS, stride=2, squeeze_excite=True),
    Block(5, 576, 96, HS, squeeze_excite=True),
    Block(5, 576, 96, HS, squeeze_excite=True),
)

VARIANTS = {
    "mobilenet_v3_large": partial(_mobilenet_v3, blocks=LARGE, final_width=960, hidden_width=1280),
    "mobilenet_v3_small": partial(_mobilenet_v3, blocks=SMALL, final_width=576, hidden_width=1024),
}
