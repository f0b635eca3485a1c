"""Convolutions."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.layers.initializers import he_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.convolution import conv_general_dilated
from jaxvision.ops.pooling import spatial_mean

Size = int | tuple[int, int]
"""Of height and of width, or of both."""


def conv2d(features: int, kernel_size: Size, stride: int = 1, *, padding: Size | None = None, **fields: Any) -> nn.Conv:
    """Returns a 2-D convolution padded symmetrically, as PyTorch pads (XLA's "SAME" is uneven at stride 2).

    Args:
        features: output channels.
        kernel_size: height and width of the kernel.
        stride: in both directions.
        padding: rows and columns of zeros on each side; None keeps the size of the image at stride 1.
        fields: further fields of `flax.linen.Conv`, such as `feature_group_count`.
    """
    kernel = _pair(kernel_size)
    pads = tuple(size // 2 for size in kernel) if padding is None else _pair(padding)
    return nn.Conv(
        features,
        kernel,
        (stride, stride),
        padding=tuple((pad, pad) for pad in pads),
        conv_general_dilated=conv_general_dilated,
        **fields,
    )


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class ConvNorm(nn.Module):
    """A convolution, its normalisation, an activation.

    Attributes:
        features: output channels.
        kernel_size, stride, padding: as `conv2d` takes them.
        groups: of the channels.
        activation: None for none.
        conv, norm: constructors of the layers, with type and initial values bound.
    """

    features: int
    kernel_size: Size = 1
    stride: int = 1
    padding: Size | None = None
    groups: int = 1
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    conv: Callable[..., nn.Module] = dataclasses.field(kw_only=True)
    norm: Callable[..., nn.Module] = dataclasses.field(kw_only=True)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/s, W/s, features]
        """Applies the three."""
        conv = partial(self.conv, self.features, self.kernel_size, self.stride, padding=self.padding)
        x = conv(feature_group_count=self.groups, name="conv")(x)
        x = self.norm(name="norm")(x)
        return x if self.activation is None else self.activation(x)


def conv_batch_norm(
    train: bool,
    *,
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    kernel_init: Initializer = he_fan_out,
    dtype: DTypeLike = jnp.float32,
) -> Callable[..., ConvNorm]:
    """Returns the constructor of `ConvNorm` with convolutions without bias and `BatchNorm`; the options are theirs."""
    conv = partial(conv2d, use_bias=False, dtype=dtype, kernel_init=kernel_init)
    norm = partial(BatchNorm, train, momentum=momentum, epsilon=epsilon, dtype=dtype)
    return partial(ConvNorm, activation=activation, conv=conv, norm=norm)


class PooledConv(nn.Module):
    """A 1x1 convolution, its normalisation, an activation, the mean of each channel.

    Attributes:
        features: output channels.
        conv_norm: from `train`, the constructor of the first three.
    """

    features: int
    conv_norm: Callable[[bool], Callable[..., nn.Module]]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, features]
        """Applies the four; sums are in float32 or wider."""
        y = self.conv_norm(train)(self.features, name="conv_norm")(x)
        return spatial_mean(y)
