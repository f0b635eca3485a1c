"""Pooling: maxima, lowered for each platform as measured to be fastest there, and what only PyTorch and Caffe have.

Shapes: B batch, H height, W width, C channels; h and w of the result, s and t strides, m and n windows that a period of
the strides lies in.
"""

import itertools
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pair = tuple[int, int]
Pairs = tuple[Pair, Pair]

MOST_TAPS = 9
"""In larger windows slices take longer to compile than they save."""


def max_pool(
    x: jax.Array, window: Pair, strides: Pair | None = None, padding: str | Sequence[Pair] = "VALID"
) -> jax.Array:
    """Returns the maximum of each window, as `flax.linen.max_pool` does.

    XLA's CPU compiler takes the maximum of windows, and above all its gradient, one element at a time. There the maxima
    are of strided slices (3 times as fast), and the gradient goes to where each maximum came from, the first of equal
    ones as in PyTorch, by comparing positions (3 to 30 times as fast).

    Args:
        x: [B, H, W, C].
        window: height and width.
        strides: of the windows; None for 1.
        padding: "VALID", "SAME", or rows before and after, and columns before and after.
    """
    strides = strides or (1, 1)
    plain = partial(nn.max_pool, window_shape=window, strides=strides, padding=padding)
    if x.ndim != 4 or np.prod(window) > MOST_TAPS or not jnp.issubdtype(x.dtype, jnp.floating):
        return plain(x)
    pairs = lax.padtype_to_pads(x.shape[1:3], window, strides, padding) if isinstance(padding, str) else padding
    pairs = tuple((before, after) for before, after in pairs)
    on_cpu = lambda x: _max_of_slices(x, tuple(window), tuple(strides), pairs)
    return lax.platform_dependent(x, cpu=on_cpu, default=plain)


def spatial_mean(x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, C]
    """Returns the mean of each channel, summed in float32 or wider."""
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)


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
    return max_pool(x, (window, window), (stride, stride), ceil_padding(x.shape[1:3], window, stride))


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


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_of_slices(x: jax.Array, window: Pair, strides: Pair, padding: Pairs) -> jax.Array:
    first, *others = _slices(x, window, strides, padding)
    for other in others:
        first = jnp.maximum(first, other)
    return first


@_max_of_slices.defjvp
def _tangent(window: Pair, strides: Pair, padding: Pairs, primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    largest, *others = _slices(x, window, strides, padding)
    places = jnp.zeros(largest.shape, jnp.int8)
    for place, other in enumerate(others, start=1):
        larger = (other > largest) | jnp.isnan(other)
        largest, places = jnp.where(larger, other, largest), jnp.where(larger, jnp.int8(place), places)
    return largest, _values_at(dx, places, window, strides, padding)


def _slices(x: jax.Array, window: Pair, strides: Pair, padding: Pairs) -> list[jax.Array]:  # of [B, h, w, C]
    """Returns the pixel at each place of all windows."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True))
    (s, t) = strides
    return [
        x[:, i : i + (height - 1) * s + 1 : s, j : j + (width - 1) * t + 1 : t]
        for i, j in itertools.product(*map(range, window))
    ]


def _values_at(dx: jax.Array, places: jax.Array, window: Pair, strides: Pair, padding: Pairs) -> jax.Array:
    """Returns the pixel of each window that is at its place; linear in `dx`, and its transpose is quick.

    Every pixel has a place in the window that begins in its own period of the strides, and in those that begin in the
    periods before. Pixels are compared period by period, [B, m, s, n, t, C], and never scattered.

    Args:
        dx: [B, H, W, C].
        places: int8 [B, h, w, C], i * width + j.
        window, strides, padding: of the pooling.
    """
    (s, t), (height, width) = strides, places.shape[1:3]
    before = [-(-k // stride) for k, stride in zip(window, strides, strict=True)]  # windows over a pixel
    m, n = height + before[0] - 1, width + before[1] - 1
    (top, _), (left, _) = padding
    # By `lax.pad`, which also cuts off what lies in no window.
    ends = [(top, m * s - top - dx.shape[1], 0), (left, n * t - left - dx.shape[2], 0)]
    pixels = lax.pad(dx, jnp.zeros((), dx.dtype), ((0, 0, 0), *ends, (0, 0, 0))).reshape(len(dx), m, s, n, t, -1)
    total = jnp.zeros((), dx.dtype)
    for a, b in itertools.product(*map(range, before)):
        ends = ((a, m - height - a), (b, n - width - b))
        there = jnp.pad(places, ((0, 0), *ends, (0, 0)), constant_values=-1)  # of the window a and b periods before
        rows, columns = a * s + np.arange(s)[:, None], b * t + np.arange(t)
        place = np.where((rows < window[0]) & (columns < window[1]), rows * window[1] + columns, -2).astype(np.int8)
        chosen = there[:, :, None, :, None] == place[:, None, :, None]  # [B, m, s, n, t, C]
        values = jnp.where(chosen, pixels, 0).sum((2, 4))  # [B, m, n, C]
        total += values[:, a : a + height, b : b + width]
    return total
