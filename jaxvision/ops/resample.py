"""Resizing as sums of a few weighted pixels along one axis, as PyTorch and Pillow do it.

Shapes: B batch, N pixels in, M pixels out, T taps (the pixels that one pixel of the result is a sum of).
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

Method = Literal["bilinear", "bicubic"]
RADIUS = {"bilinear": 1, "bicubic": 2}


def resampling_taps(
    size: int,
    start: jax.Array,
    length: jax.Array,
    out_size: int,
    *,
    method: Method = "bilinear",
    antialias: bool = True,
) -> tuple[jax.Array, jax.Array]:  # -> [B, M, T], [B, M, T]
    """Returns which pixels, with which weights, make each pixel of a resized stretch of an axis.

    Args:
        size: N, of the axis.
        start: [B], the first pixel of the stretch.
        length: [B], pixels in the stretch, at least 1; none outside it is looked at.
        out_size: M, that the stretch is resized to.
        method: the filter; the cubic's coefficient is that of PyTorch, -0.5 with antialiasing and -0.75 without.
        antialias: whether the filter grows with the stretch where that is made smaller.

    Returns:
        Indices of pixels, int32, and their weights, float32, which sum to 1 for each pixel of the result.

    Raises:
        ValueError: an unknown method.
    """
    if method not in RADIUS:
        raise ValueError(f"method must be one of {', '.join(RADIUS)}, got {method!r}")
    start, length = (jnp.asarray(value, jnp.int32)[:, None, None] for value in (start, length))
    radius, twice = RADIUS[method], 2 * out_size
    span = jnp.maximum(length, out_size) if antialias else jnp.full_like(length, out_size)  # stretch x out_size
    # Centre and first tap of each pixel of the result, from the start, by whole numbers: indices and weights are
    # compiled apart, and must not round apart.
    position = length * (2 * jnp.arange(out_size)[:, None] + 1)  # [B, M, 1], the centre x 2 out_size
    first = (position - 2 * radius * span + out_size) // twice
    num_taps = math.ceil(2 * radius * (max(size / out_size, 1) if antialias else 1))
    index = first + jnp.arange(num_taps)  # [B, M, T]
    distance = (index - position // twice + 0.5) - position % twice / twice
    weight = _filter(distance / (span / out_size), method, antialias)
    if antialias:  # what lies outside has no part; without antialiasing the outermost pixels stand for it
        weight = jnp.where((index >= 0) & (index < length), weight, 0)
        weight /= weight.sum(-1, keepdims=True)
    return jnp.clip(start + jnp.clip(index, 0, length - 1), 0, size - 1), weight


def resampling_matrix(
    indices: jax.Array, weights: jax.Array, size: int
) -> jax.Array:  # [..., M, T] twice -> [..., M, N]
    """Returns the matrix that resizes an axis of N pixels, of the taps that `resampling_taps` gives."""
    return jnp.where(indices[..., None] == jnp.arange(size), weights[..., None], 0).sum(-2)


def corner_aligned_matrix(size: int, out_size: int) -> jax.Array:  # -> [M, N]
    """Returns the matrix that resizes an axis bicubically, first pixel on first and last on last, not edge on edge.

    This is PyTorch's `interpolate` with `align_corners=True`.
    """
    position = jnp.arange(out_size) * ((size - 1) / max(out_size - 1, 1))
    index = jnp.floor(position).astype(jnp.int32)[:, None] + jnp.arange(-1, 3)  # [M, T]
    weight = _filter(index - position[:, None], "bicubic", antialias=False)
    return resampling_matrix(jnp.clip(index, 0, size - 1), weight, size)


def _filter(distance: jax.Array, method: Method, antialias: bool) -> jax.Array:
    x = jnp.abs(distance)
    if method == "bilinear":
        return jnp.maximum(1 - x, 0)
    a = -0.5 if antialias else -0.75  # Keys (1981), https://doi.org/10.1109/TASSP.1981.1163711
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))
