"""The blocks of residual networks.

After He, Zhang, Ren and Sun, "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385 (figures
are this paper's), and the same, "Identity mappings in deep residual networks", https://arxiv.org/abs/1603.05027.
Groups are those of Xie, Girshick, Dollár, Tu and He, "Aggregated residual transformations for deep neural networks",
https://arxiv.org/abs/1611.05431, the pooled shortcut that of He, Zhang, Zhang, Zhang, Xie and Li, "Bag of tricks for
image classification with convolutional neural networks", https://arxiv.org/abs/1812.01187.

Shapes: B batch, H height, W width, C channels.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

Shortcut = Literal["projection", "pooled", "pad", "none"]


def pad_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:  # [B, H, W, C] -> [B, H/s, W/s, features]
    """The parameter-free shortcut of the CIFAR networks: every `stride`-th pixel, new channels zero (option A)."""
    extra = features - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


def halve(x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C]
    """The mean of each window of 2x2 pixels, at an odd edge of those that there are; summed in float32 or wider."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    padding = ((0, x.shape[1] % 2), (0, x.shape[2] % 2))
    return nn.avg_pool(wide, (2, 2), (2, 2), padding=padding, count_include_pad=False).astype(x.dtype)


def squeezed(channels: int) -> int:
    """How many channels squeeze and excitation has within: a sixteenth, rounded to a multiple of 8, as in timm."""
    return max(8, (channels // 16 + 4) // 8 * 8)


class Block(nn.Module):
    """What the blocks share: the fields, and the shortcut where input and output differ in shape.

    Attributes:
        width: channels of the 3x3 convolutions, but for a bottleneck's `groups` and `width_per_group`.
        stride: of the first 3x3 convolution and of the shortcut.
        shortcut: a 1x1 convolution ("projection"), the same with its stride in an average of 2x2 pixels before it
            ("pooled"), zero padding ("pad"), or no shortcut at all ("none").
        conv, norm: constructors of the layers, with type and initial values bound.
        last_norm: the same for the normalisation that ends the residual branch.
        squeeze_excite: constructor of the layer that then weights the channels; None for none.
        groups: of the 3x3 convolution of a bottleneck.
        width_per_group: its channels in each group where `width` is 64, and in proportion to `width`.
    """

    width: int
    stride: int
    shortcut: Shortcut
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_norm: Callable[..., nn.Module]
    squeeze_excite: Callable[..., nn.Module] | None = None
    groups: int = 1
    width_per_group: int = 64

    expansion: ClassVar[int] = 1
    preactivation: ClassVar[bool] = False

    def end_branch(self, y: jax.Array, name: str) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Applies the last normalisation of the residual branch, under that name, and squeeze and excitation."""
        y = self.last_norm(name=name)(y)
        return y if self.squeeze_excite is None else self.squeeze_excite(squeezed(y.shape[-1]), name="se")(y)

    def add_shortcut(self, x: jax.Array, residual: jax.Array, projected: jax.Array | None = None) -> jax.Array:
        """Returns `residual` plus the shortcut from `x`; a projection starts from `projected` where that is given."""
        if self.shortcut == "none":
            return residual
        features = residual.shape[-1]
        if self.stride == 1 and x.shape[-1] == features:
            return x + residual
        if self.shortcut == "pad":
            return pad_shortcut(x, features, self.stride) + residual
        return self._project(x if projected is None else projected, features) + residual

    def _project(self, x: jax.Array, features: int) -> jax.Array:
        stride = self.stride
        if self.shortcut == "pooled" and stride == 2:
            x, stride = halve(x), 1
        x = self.conv(features, 1, stride, name="downsample_conv")(x)
        return x if self.preactivation else self.norm(name="downsample_norm")(x)


class BasicBlock(Block):
    """Two 3x3 convolutions (figure 5, left)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        y = nn.relu(self.norm(name="norm1")(self.conv(self.width, 3, self.stride, name="conv1")(x)))
        y = self.end_branch(self.conv(self.width, 3, name="conv2")(y), "norm2")
        return nn.relu(self.add_shortcut(x, y))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels (figure 5, right)."""

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, 4 width]
        """Applies the block."""
        inner = self.width * self.width_per_group // 64 * self.groups
        y = nn.relu(self.norm(name="norm1")(self.conv(inner, 1, name="conv1")(x)))
        y = self.conv(inner, 3, self.stride, feature_group_count=self.groups, name="conv2")(y)
        y = self.conv(self.width * self.expansion, 1, name="conv3")(nn.relu(self.norm(name="norm2")(y)))
        return nn.relu(self.add_shortcut(x, self.end_branch(y, "norm3")))


class PreActBasicBlock(Block):
    """Two 3x3 convolutions, each after normalisation and ReLU."""

    preactivation: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        active = nn.relu(self.norm(name="norm1")(x))
        y = self.conv(self.width, 3, self.stride, name="conv1")(active)
        y = self.conv(self.width, 3, name="conv2")(nn.relu(self.norm(name="norm2")(y)))
        return self.add_shortcut(x, y, projected=active)


class PreActBottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, each after normalisation and ReLU."""

    expansion: ClassVar[int] = 4
    preactivation: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, 4 width]
        """Applies the block."""
        active = nn.relu(self.norm(name="norm1")(x))
        y = self.conv(self.width, 1, name="conv1")(active)
        y = self.conv(self.width, 3, self.stride, name="conv2")(nn.relu(self.norm(name="norm2")(y)))
        y = self.conv(self.width * self.expansion, 1, name="conv3")(nn.relu(self.norm(name="norm3")(y)))
        return self.add_shortcut(x, y, projected=active)
