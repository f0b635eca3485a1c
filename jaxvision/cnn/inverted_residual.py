"""Networks of inverted residual blocks: what MobileNetV2, MobileNetV3 and MNASNet share.

Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: inverted residuals and linear bottlenecks",
https://arxiv.org/abs/1801.04381. Shapes: B batch, H height, W width, C channels, D dimension.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.conv import PooledConv, conv_batch_norm
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import small_normal_linear
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.layers.width import round_width
from jaxvision.ops.materialize import materializer

Activation = Callable[[jax.Array], jax.Array]


class Block(NamedTuple):
    """One block.

    Attributes:
        kernel_size, stride: of the depthwise convolution.
        expanded: its channels.
        width: channels of the output.
        activation: after all but the last convolution.
        squeeze_excite: whether channels are weighted before the last convolution.
    """

    kernel_size: int
    expanded: int
    width: int
    activation: Activation
    stride: int = 1
    squeeze_excite: bool = False


class Row(NamedTuple):
    """A row of the papers' tables: blocks of which the first has the stride."""

    expansion: int
    width: int
    depth: int
    stride: int
    kernel_size: int = 3


def blocks_of(rows: Sequence[Row], in_width: int, activation: Activation) -> tuple[Block, ...]:
    """Returns the blocks of a table, for an input of so many channels."""
    blocks = []
    for expansion, width, depth, stride, kernel_size in rows:
        for j in range(depth):
            expanded = in_width * expansion
            blocks.append(Block(kernel_size, expanded, width, activation, stride if j == 0 else 1))
            in_width = width
    return tuple(blocks)


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, a 1x1 convolution that narrows and has no activation.

    Attributes:
        block: see there; where it is no wider inside than its input the first convolution is left out.
        conv_norm, squeeze_excite: constructors of the layers.
    """

    block: Block
    conv_norm: Callable[..., nn.Module]
    squeeze_excite: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block, with a shortcut where input and output have one shape."""
        block = self.block
        conv_norm = partial(self.conv_norm, activation=block.activation)
        y = x if block.expanded == x.shape[-1] else conv_norm(block.expanded, name="expand")(x)
        depthwise = partial(conv_norm, block.expanded, block.kernel_size, block.stride, groups=block.expanded)
        y = depthwise(name="depthwise")(y)
        if block.squeeze_excite:
            y = self.squeeze_excite(round_width(block.expanded // 4), name="se")(y)
        y = self.conv_norm(block.width, activation=None, name="project")(y)
        return x + y if block.stride == 1 and block.width == x.shape[-1] else y


class InvertedResidualNetwork(nn.Module):
    """A 3x3 convolution of stride 2, blocks, a 1x1 convolution before pooling.

    Attributes:
        blocks: all of them.
        stem_width: channels of the first convolution.
        final_width: channels of the last convolution.
        hidden_width: of a dense layer after pooling; 0 for none.
        activation: of these.
        dropout_rate: of the pooled features.
        epsilon, momentum: of the normalisations.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    blocks: tuple[Block, ...]
    stem_width: int
    final_width: int
    hidden_width: int = 0
    activation: Activation = nn.relu
    dropout_rate: float = 0.2
    epsilon: float = 1e-5
    momentum: float = 0.9
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers that come after the blocks; the others are made in `features`."""
        self.final = PooledConv(self.final_width, partial(self._conv_norm, activation=self.activation))
        if self.hidden_width:
            kernel_init, bias_init = small_normal_linear(self.final_width, self.hidden_width)
            self.hidden = nn.Dense(self.hidden_width, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init)
        self.dropout = nn.Dropout(self.dropout_rate)

    @property
    def _conv_norm(self) -> Callable[..., Callable[..., nn.Module]]:
        return partial(conv_batch_norm, epsilon=self.epsilon, momentum=self.momentum, dtype=self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of the last block of each resolution, the highest first, as [B, H/s, W/s, C]."""
        check_image(image, self.in_channels)
        conv_norm = self._conv_norm(train)
        zeros = nn.initializers.zeros
        gated = partial(SqueezeExcite, gate=nn.hard_sigmoid, bias_init=zeros, dtype=self.dtype)
        materialize = materializer(image)
        x, stages = conv_norm(self.stem_width, 3, 2, activation=self.activation, name="stem")(image), []
        for name, block, _ in self.named_blocks():
            x = materialize(InvertedResidual(block, conv_norm, gated, name=name)(x))
            stages = [*(stages if name.endswith("_block1") else stages[:-1]), x]
        return tuple(stages)

    def named_blocks(self) -> Iterator[tuple[str, Block, int]]:
        """Yields each block with its name, "stage{i}_block{j}", and the channels of its input.

        A stage ends where a block has a stride.
        """
        i, j, in_width = 1, 0, self.stem_width
        for block in self.blocks:
            i, j = (i + 1, 1) if block.stride > 1 and j else (i, j + 1)
            yield f"stage{i}_block{j}", block, in_width
            in_width = block.width

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, D]
        """Returns the mean of each channel of the last convolution, or what the dense layer makes of it."""
        pooled = self.final(feature_map, train=train)
        if self.hidden_width:
            pooled = self.activation(self.hidden(pooled))
        return self.dropout(pooled, deterministic=not train)

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


def conv_norm_names(ours: str, conv: str, norm: str) -> dict[str, Any]:
    """Returns the lines of a name map for the two layers of a `ConvNorm`."""
    return {f"{ours}/conv": conv, f"{ours}/norm": norm}
