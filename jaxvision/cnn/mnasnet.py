"""MNASNet: Tan, Chen, Pang, Vasudevan, Sandler, Howard and Le, "Platform-aware neural architecture search for mobile".

https://arxiv.org/abs/1807.11626, the variant B1 as torchvision has it, without squeeze and excitation. Its
`load_state_dict` takes only dictionaries that have the attribute `_metadata = {"": {"version": 2}}`; a file of
safetensors cannot hold it.
"""

from functools import partial
from typing import Any

import flax.linen as nn
from flax.linen.initializers import Initializer

from jaxvision.classifier import classifier
from jaxvision.cnn.inverted_residual import InvertedResidualNetwork, Row, blocks_of, conv_norm_names
from jaxvision.layers.initializers import uniform
from jaxvision.layers.width import round_width


def mnasnet_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Uniform weights of variance 1 / `fan_out`, no bias."""
    del fan_in
    return uniform((3 / fan_out) ** 0.5), nn.initializers.zeros


class MNASNet(InvertedResidualNetwork):
    """A network of inverted residual blocks, under the names of torchvision's MNASNet."""

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files: stacks of blocks, of which each but the first has a shortcut."""
        names = conv_norm_names("stem", "layers.0", "layers.1") | {"head": "classifier.1"}
        stack, depth = 7, 0
        for n, (name, block, in_width) in enumerate(self.named_blocks()):
            if n == 0:
                names |= conv_norm_names(f"{name}/depthwise", "layers.3", "layers.4")
                names |= conv_norm_names(f"{name}/project", "layers.6", "layers.7")
                continue
            has_shortcut = block.stride == 1 and block.width == in_width
            stack, depth = (stack, depth + 1) if has_shortcut else (stack + 1, 0)
            for k, layer in enumerate(("expand", "depthwise", "project")):
                theirs = f"layers.{stack}.{depth}.layers"
                names |= conv_norm_names(f"{name}/{layer}", f"{theirs}.{3 * k}", f"{theirs}.{3 * k + 1}")
        names |= conv_norm_names("final/conv_norm", f"layers.{stack + 1}", f"layers.{stack + 2}")
        return {"torchvision": names}


def scaled(width: float, depths: tuple[int, ...] = (1, 3, 3, 3, 2, 4, 1)) -> dict[str, Any]:
    """Returns the fields of a network that is so many times as wide as figure 7's, with other depths if given."""
    stem_width = round_width(32 * width)
    expansions, strides, kernel_sizes = (1, 3, 3, 6, 6, 6, 6), (1, 2, 2, 2, 1, 2, 1), (3, 3, 5, 5, 3, 5, 3)
    widths = (round_width(channels * width) for channels in (16, 24, 40, 80, 96, 192, 320))
    rows = map(Row, expansions, widths, depths, strides, kernel_sizes)
    return {"stem_width": stem_width, "blocks": blocks_of(tuple(rows), stem_width, nn.relu)}


_mnasnet = partial(classifier, MNASNet, final_width=1280, momentum=0.9997, head_init=mnasnet_linear)

VARIANTS = {
    "mnasnet0_5": partial(_mnasnet, **scaled(0.5)),
    "mnasnet0_75": partial(_mnasnet, **scaled(0.75)),
    "mnasnet1_0": partial(_mnasnet, **scaled(1.0)),
    "mnasnet1_3": partial(_mnasnet, **scaled(1.3)),
}
