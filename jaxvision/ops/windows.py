"""Pooling whose windows are laid out as PyTorch and Caffe do it.

Shapes: B batch, H height, W width, C channels.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def max_pool_ceil(x: jax.Array, window: int, stride: int) -> jax.Array:  # [B, H, W, C] -> [B, H', W', C]
    """Takes maxima over square windows, the last of which may reach beyond the edge: PyTorch's `ceil_mode=True`.

    Raises:
        ValueError: there is no window, as PyTorch counts them: H or W is `window - stride` or less.
    """
    if min(x.shape[1:3]) <= window - stride:
        raise ValueError(
            f"max pooling of {window}x{window} windows, stride {stride}, needs {window - stride + 1} pixels or more in "
            f"both directions, got {x.shape[1]}x{x.shape[2]}: the images are too small"
        )
    beyond = [(0, (math.ceil((size - window) / stride)) * stride + window - size) for size in x.shape[1:3]]
    return nn.max_pool(x, (window, window), (stride, stride), padding=beyond)


def pool_to_size(x: jax.Array, size: int, window: int = 1, stride: int = 1) -> jax.Array:  # -> [B, size, size, C]
    """Averages over `size` windows in each direction, which lie in a map of any size in the same proportions.

    Windows of the length `window` at distances of `stride` would fill a map of `(size - 1) stride + window` pixels; on
    another they are as much longer or shorter, rounded outwards to whole pixels. Without overlap, as by default, this
    is PyTorch's `adaptive_avg_pool2d`.

    Args:
        x: [B, H, W, C].
        size: windows in each direction.
        window, stride: their length and distance, in a map that they fill.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis in (1, 2):
        scale, length = x.shape[axis], (size - 1) * stride + window
        ends = [(i * stride * scale // length, -(-(i * stride + window) * scale // length)) for i in range(size)]
        wide = jnp.stack([lax.slice_in_dim(wide, start, end, axis=axis).mean(axis) for start, end in ends], axis)
    return wide.astype(x.dtype)


def average_windows(
    x: jax.Array, window: int, stride: int = 1, padding: int = 0
) -> jax.Array:  # [B, H, W, C] -> [B, H', W', C]
    """Averages over square windows, zeros of the padding among them, in float32 or wider."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    pads = ((padding, padding), (padding, padding))
    return nn.avg_pool(wide, (window, window), (stride, stride), padding=pads).astype(x.dtype)
