"""RegNet: Radosavovic, Kosaraju, Girshick, He and Dollár, "Designing network design spaces".

https://arxiv.org/abs/2003.13678 (figures, sections and equations are this paper's). As in torchvision. Shapes: B batch,
H height, W width, C channels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import Classifier, classifier
from jaxvision.layers.conv import ConvNorm, conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.layers.width import round_width
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import spatial_mean
from jaxvision.weights.names import Line


def regnet_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Weights of a standard deviation of 0.01, no bias."""
    del fan_in, fan_out
    return nn.initializers.normal(0.01), nn.initializers.zeros


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions of the same width (figure 4), in RegNetY squeeze and excitation inside.

    Attributes:
        width: channels of every convolution.
        group_width: channels of each group of the 3x3 convolution.
        stride: of the 3x3 convolution and of the shortcut.
        conv_norm: constructor of convolution, normalisation and ReLU.
        squeeze_excite: constructor of the layer that weights the channels; None for none.
    """

    width: int
    group_width: int
    stride: int
    conv_norm: Callable[..., nn.Module]
    squeeze_excite: Callable[..., nn.Module] | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        groups = self.width // self.group_width
        y = self.conv_norm(self.width, name="conv1")(x)
        y = self.conv_norm(self.width, 3, self.stride, groups=groups, name="conv2")(y)
        if self.squeeze_excite is not None:  # a quarter of what comes into the block, as in the authors' code
            y = self.squeeze_excite(round(x.shape[-1] / 4), name="se")(y)
        y = self.conv_norm(self.width, activation=None, name="conv3")(y)
        if self.stride > 1 or x.shape[-1] != self.width:
            x = self.conv_norm(self.width, 1, self.stride, activation=None, name="downsample")(x)
        return nn.relu(x + y)


class RegNet(nn.Module):
    """A 3x3 convolution and stages of blocks, each of which halves the resolution.

    Attributes:
        depths: blocks in each stage.
        widths: channels of each stage.
        group_widths: channels of each group of the 3x3 convolutions, by stage.
        squeeze_excite: whether channels are weighted (RegNetY) or not (RegNetX).
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    squeeze_excite: bool = False
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ...

        Raises:
            ValueError: the image cannot be right, or a stage's groups do not divide its width.
        """
        check_image(image, self.in_channels)
        stages = list(zip(self.depths, self.widths, self.group_widths, strict=True))
        if wrong := [(width, group_width) for _, width, group_width in stages if width % group_width]:
            raise ValueError(f"group_widths must divide widths, got {wrong[0][1]} for {wrong[0][0]}")
        conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=he_fan_out)
        conv_norm = partial(ConvNorm, conv=conv, norm=partial(BatchNorm, train, dtype=self.dtype))
        squeeze_excite = partial(SqueezeExcite, dtype=self.dtype) if self.squeeze_excite else None
        materialize = materializer(image)
        x, outputs = conv_norm(32, 3, 2, name="stem")(image), []
        for i, (depth, width, group_width) in enumerate(stages, start=1):
            for j in range(1, depth + 1):
                stride = 2 if j == 1 else 1
                block = RegNetBlock(width, group_width, stride, conv_norm, squeeze_excite, name=f"stage{i}_block{j}")
                x = materialize(block(x))
            outputs.append(x)
        return tuple(outputs)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel."""
        del train
        return spatial_mean(feature_map)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files."""
        return {"torchvision": TORCHVISION}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


TORCHVISION = {
    "stem/conv": "stem.0",
    "stem/norm": "stem.1",
    "head": "fc",
}
for _ours, _theirs in {"conv1": "f.a", "conv2": "f.b", "conv3": "f.c", "downsample": "proj"}.items():
    TORCHVISION |= {
        f"stage{{i}}_block{{j}}/{_ours}/{layer}": f"trunk_output.block{{i}}.block{{i}}-{{j-1}}.{_theirs}.{index}"
        for index, layer in enumerate(("conv", "norm"))
    }
TORCHVISION["stage{i}_block{j}/se/fc{k}"] = Line(
    "trunk_output.block{i}.block{i}-{j-1}.f.se.fc{k}", transform="dense_as_1x1_conv"
)


def stages_of(
    num_blocks: int, first_width: int, slope: float, factor: float, group_width: int
) -> dict[str, tuple[int, ...]]:
    """Returns depths, widths and widths of groups of the stages, from a quantised linear function (section 3.3).

    Args:
        num_blocks: in all stages, d in the paper.
        first_width: channels that the first block would have, w_0.
        slope: by how many they grow from one block to the next, w_a.
        factor: between the widths of stages, before they are rounded to multiples of 8 and of the groups, w_m.
        group_width: channels of a group, g; fewer where a stage has fewer.
    """
    linear = first_width + slope * np.arange(num_blocks)  # equation 2
    exponents = np.round(np.log(linear / first_width) / np.log(factor))  # equation 3
    quantised = 8 * np.round(first_width * factor**exponents / 8)  # equation 4
    widths, depths = (values.tolist() for values in np.unique(quantised.astype(int), return_counts=True))
    group_widths = [min(group_width, width) for width in widths]
    widths = [round_width(width, group) for width, group in zip(widths, group_widths, strict=True)]
    return {"depths": tuple(depths), "widths": tuple(widths), "group_widths": tuple(group_widths)}


def _regnet(*design: float, **options: Any) -> Classifier:
    return classifier(RegNet, head_init=regnet_linear, **stages_of(*design) | options)


_regnet_y = partial(_regnet, squeeze_excite=True)

VARIANTS = {
    "regnet_y_400mf": partial(_regnet_y, 16, 48, 27.89, 2.09, 8),
    "regnet_y_800mf": partial(_regnet_y, 14, 56, 38.84, 2.4, 16),
    "regnet_y_1_6gf": partial(_regnet_y, 27, 48, 20.71, 2.65, 24),
    "regnet_y_3_2gf": partial(_regnet_y, 21, 80, 42.63, 2.66, 24),
    "regnet_y_8gf": partial(_regnet_y, 17, 192, 76.82, 2.19, 56),
    "regnet_y_16gf": partial(_regnet_y, 18, 200, 106.23, 2.48, 112),
    "regnet_y_32gf": partial(_regnet_y, 20, 232, 115.89, 2.53, 232),
    "regnet_y_128gf": partial(_regnet_y, 27, 456, 160.83, 2.52, 264),
    "regnet_x_400mf": partial(_regnet, 22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": partial(_regnet, 16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": partial(_regnet, 18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": partial(_regnet, 25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": partial(_regnet, 23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": partial(_regnet, 22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": partial(_regnet, 23, 320, 69.86, 2.0, 168),
}
