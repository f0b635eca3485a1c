"""ShuffleNetV2: Ma, Zhang, Zheng and Sun, "Practical guidelines for efficient CNN architecture design", 2018.

https://arxiv.org/abs/1807.11164; defaults are torchvision's. Shapes: B batch, H height, W width, C channels.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import variance_scaling
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import PooledConv, conv_batch_norm
from jaxvision.layers.image import check_image
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import max_pool

torch_conv = variance_scaling(1 / 3, "fan_in", "uniform")  # what PyTorch does unless it is told otherwise


def interleave(first: jax.Array, second: jax.Array) -> jax.Array:  # twice [B, H, W, C] -> [B, H, W, 2 C]
    """Joins two halves with their channels in turns: concatenation and channel shuffle in one."""
    return jnp.stack((first, second), -1).reshape(*first.shape[:-1], -1)


class Unit(nn.Module):
    """A unit that leaves half of its channels as they are (figure 3c) or, of stride 2, works on all of them twice (3d).

    Attributes:
        width: channels of the output.
        stride: 1 or 2.
        conv_norm: constructor of the layers.
    """

    width: int
    stride: int
    conv_norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the unit."""
        half = self.width // 2
        if self.stride == 1:
            left, x = jnp.split(x, 2, -1)
        else:
            left = self.conv_norm(half, name="left_project")(self._depthwise(x, "left_depthwise"))
        right = self._depthwise(self.conv_norm(half, name="reduce")(x), "depthwise")
        return interleave(left, self.conv_norm(half, name="project")(right))

    def _depthwise(self, x: jax.Array, name: str) -> jax.Array:
        channels = x.shape[-1]
        return self.conv_norm(channels, 3, self.stride, groups=channels, activation=None, name=name)(x)


class ShuffleNetV2(nn.Module):
    """A 3x3 convolution and a max pooling, each of stride 2, stages that halve the resolution, a 1x1 convolution.

    Attributes:
        widths: channels of the first convolution, of each stage, and of the last convolution.
        depths: units in each stage.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...] = (4, 8, 4)
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layer that comes after the stages; the others are made in `features`."""
        self.final = PooledConv(self.widths[-1], self._conv_norm)

    @property
    def _conv_norm(self) -> Callable[[bool], Callable[..., nn.Module]]:
        return partial(conv_batch_norm, kernel_init=torch_conv, dtype=self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/8, W/8, C1], [B, H/16, W/16, C2], ..."""
        check_image(image, self.in_channels)
        stem_width, *widths, _ = self.widths
        conv_norm = self._conv_norm(train)
        materialize = materializer(image)
        x = conv_norm(stem_width, 3, 2, name="stem")(image)
        x = max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, widths, strict=True), start=1):
            for j in range(1, depth + 1):
                unit = Unit(width, 2 if j == 1 else 1, conv_norm, name=f"stage{i}_unit{j}")
                x = materialize(unit(x))
            stages.append(x)
        return tuple(stages)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, D]
        """Returns the mean of each channel of the last convolution."""
        return self.final(feature_map, train=train)

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision's files."""
        return {"torchvision": TORCHVISION}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


TORCHVISION = {
    "stem/conv": "conv1.0",
    "stem/norm": "conv1.1",
    "stage{i}_unit{j}/left_depthwise/conv": "stage{i+1}.{j-1}.branch1.0",
    "stage{i}_unit{j}/left_depthwise/norm": "stage{i+1}.{j-1}.branch1.1",
    "stage{i}_unit{j}/left_project/conv": "stage{i+1}.{j-1}.branch1.2",
    "stage{i}_unit{j}/left_project/norm": "stage{i+1}.{j-1}.branch1.3",
    "stage{i}_unit{j}/reduce/conv": "stage{i+1}.{j-1}.branch2.0",
    "stage{i}_unit{j}/reduce/norm": "stage{i+1}.{j-1}.branch2.1",
    "stage{i}_unit{j}/depthwise/conv": "stage{i+1}.{j-1}.branch2.3",
    "stage{i}_unit{j}/depthwise/norm": "stage{i+1}.{j-1}.branch2.4",
    "stage{i}_unit{j}/project/conv": "stage{i+1}.{j-1}.branch2.5",
    "stage{i}_unit{j}/project/norm": "stage{i+1}.{j-1}.branch2.6",
    "final/conv_norm/conv": "conv5.0",
    "final/conv_norm/norm": "conv5.1",
    "head": "fc",
}

_shufflenet = partial(classifier, ShuffleNetV2)

VARIANTS = {
    "shufflenet_v2_x0_5": partial(_shufflenet, widths=(24, 48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": partial(_shufflenet, widths=(24, 116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": partial(_shufflenet, widths=(24, 176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": partial(_shufflenet, widths=(24, 244, 488, 976, 2048)),
}
