"""Pooling that PyTorch and Caffe have and `flax.linen` has not.

Shapes: B batch, H height, W width, C channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def adaptive_avg_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:  # [B, H, W, C] -> [B, *size, C]
    """Averages a map to a given size, as `torch.nn.AdaptiveAvgPool2d` does; one of that size is returned as it is.

    Pixel i of n is the mean of those that its n-th part of an axis touches, which overlap where n does not divide the
    axis, and are repeated where the axis is shorter than n. Sums are in float32 or wider.

    Args:
        x: the map.
        size: height and width of the result, at least 1.

    Raises:
        ValueError: a size is below 1.
    """
    if min(size) < 1:
        raise ValueError(f"size must be 1 or more in both directions, got {size}")
    pooled = x
    for axis, parts in zip((1, 2), size, strict=True):
        length = x.shape[axis]
        if length != parts:
            pooled = pooled.astype(jnp.promote_types(x.dtype, jnp.float32))
            ends = [(i * length // parts, -(-(i + 1) * length // parts)) for i in range(parts)]
            pooled = jnp.stack([lax.slice_in_dim(pooled, *end, axis=axis).mean(axis) for end in ends], axis)
    return pooled.astype(x.dtype)


def ceil_padding(size: Sequence[int], window: int, stride: int) -> tuple[tuple[int, int], ...]:
    """Returns the padding with which windows of a pooling cover every pixel: Caffe's rule, `ceil_mode` in PyTorch.

    Args:
        size: of the axes, in pixels.
        window, stride: of the pooling, in every direction; the stride is the window's length at most.
    """
    return tuple((0, (window - length) % stride) for length in size)
