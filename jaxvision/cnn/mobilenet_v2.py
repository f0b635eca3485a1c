"""MobileNetV2: Sandler, Howard, Zhu, Zhmoginov and Chen, "Inverted residuals and linear bottlenecks", 2018.

https://arxiv.org/abs/1801.04381; defaults are torchvision's.
"""

from functools import partial
from typing import Any

import flax.linen as nn

from jaxvision.classifier import classifier
from jaxvision.cnn.inverted_residual import InvertedResidualNetwork, Row, blocks_of, conv_norm_names
from jaxvision.layers.initializers import small_normal_linear


class MobileNetV2(InvertedResidualNetwork):
    """A network of inverted residual blocks, under the names of torchvision's MobileNetV2."""

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files."""
        last = len(self.blocks) + 1
        names = {
            **conv_norm_names("stem", "features.0.0", "features.0.1"),
            **conv_norm_names("final/conv_norm", f"features.{last}.0", f"features.{last}.1"),
            "head": "classifier.1",
        }
        for n, (name, block, in_width) in enumerate(self.named_blocks(), start=1):
            layers = ["depthwise"] if block.expanded == in_width else ["expand", "depthwise"]
            for k, layer in enumerate(layers):
                names |= conv_norm_names(f"{name}/{layer}", f"features.{n}.conv.{k}.0", f"features.{n}.conv.{k}.1")
            k = len(layers)
            names |= conv_norm_names(f"{name}/project", f"features.{n}.conv.{k}", f"features.{n}.conv.{k + 1}")
        return {"torchvision": names}


TABLE_2 = (
    Row(expansion=1, width=16, depth=1, stride=1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)

mobilenet_v2 = partial(
    classifier,
    MobileNetV2,
    blocks=blocks_of(TABLE_2, 32, nn.relu6),
    stem_width=32,
    final_width=1280,
    activation=nn.relu6,
    head_init=small_normal_linear,
)

VARIANTS = {"mobilenet_v2": mobilenet_v2}
