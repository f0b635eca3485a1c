"""The attention of Swin Transformers, among the tokens of a window.

Shapes: B batch, H height, W width, C channels; M side of a window in tokens, n windows of a map, N = M M tokens of a
window, h heads, d channels of a head.
"""

import functools
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.typing import DTypeLike

MAX_LOG_SCALE = math.log(100)
MASKED = -100.0  # added to the logits of tokens that are no neighbours, as by the authors and torchvision
# "Truncated normal" in torchvision: at -2 and 2, a hundred standard deviations from the mean.
draw_kernel = nn.initializers.normal(0.02)


@functools.cache
def relative_position_index(window: int) -> np.ndarray:  # -> [N, N]
    """Returns for each query and key of a window which of the (2 M - 1)^2 offsets lies between them."""
    rows, columns = np.divmod(np.arange(window**2), window)
    down, right = (places[:, None] - places + window - 1 for places in (rows, columns))
    index = down * (2 * window - 1) + right
    return index.astype(np.int32)  # JAX keeps what it makes of this, and of int64 would make two types in turn


@functools.cache
def relative_offsets(window: int) -> np.ndarray:  # -> [(2 M - 1)^2, 2]
    """Returns the offsets down and right, from -1 to 1 on a logarithmic scale (V2, equation 4; torchvision's units)."""
    offsets = np.arange(1 - window, window, dtype=np.float32) / np.float32(window - 1) * 8
    spaced = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / np.float32(3)
    return np.stack(np.meshgrid(spaced, spaced, indexing="ij"), -1).reshape(-1, 2)


def neighbours(grid: tuple[int, int], window: int, shift: tuple[int, int]) -> jax.Array:  # -> bool [n, N, N]
    """Tells whether two tokens of a window of a shifted map are from the same part of it.

    The program holds the parts and compares: the result, as one of its constants, would be N times as large.
    """
    part = jnp.asarray(regions(grid, window, shift))
    return part[:, :, None] == part[:, None]


@functools.cache
def regions(grid: tuple[int, int], window: int, shift: tuple[int, int]) -> np.ndarray:  # -> [n, N]
    """Returns which part of a shifted map each token is from: within a window, other parts are from other edges."""
    down, right = (np.arange(size * window) >= size * window - s for size, s in zip(grid, shift, strict=True))
    whole = 2 * down[:, None] + right  # [H, W]
    return partition(whole[None, :, :, None], window)[0, :, :, 0].astype(np.int32)


def partition(x, window: int):  # [B, H, W, C] -> [B, n, N, C]
    """Cuts a map into windows."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.swapaxes(2, 3).reshape(batch, -1, window**2, channels)


def unite(x, grid: tuple[int, int], window: int):  # [B, n, N, C] -> [B, H, W, C]
    """Puts the windows of a map together again."""
    rows, columns = grid
    x = x.reshape(len(x), rows, columns, window, window, -1).swapaxes(2, 3)
    return x.reshape(len(x), rows * window, columns * window, -1)


class Projections(nn.Module):
    """Queries, keys and values of all heads, by one product.

    Attributes:
        num_heads: h.
        bias_keys: whether keys have a bias; those of V2 have numbers for it that do nothing.
        dtype: of the computation; parameters are float32.
    """

    num_heads: int
    bias_keys: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:  # [B, n, N, C] -> 3 of [B, n, h, N, d]
        """Applies the product."""
        channels = x.shape[-1]
        kernel = self.param("kernel", draw_kernel, (channels, 3 * channels))
        bias = self.param("bias", nn.initializers.zeros, (3 * channels,))
        if not self.bias_keys:
            bias = bias.at[channels : 2 * channels].set(0)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = (x @ kernel + bias).reshape(*x.shape[:3], 3, self.num_heads, -1)
        return tuple(y.transpose(3, 0, 1, 4, 2, 5))


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, with a bias for each offset between two tokens, from a table.

    As in torchvision, zeros fill up windows that reach beyond the map, and take part like tokens; and along an axis
    with one window nothing is shifted.

    Attributes:
        num_heads: h.
        window: M.
        is_shifted: whether the windows are those between the windows of the last block.
        dtype: of the computation; parameters are float32, and so are logits and softmax.
    """

    num_heads: int
    window: int
    is_shifted: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Attends."""
        height, width, channels = x.shape[1:]
        grid = tuple(-(-size // self.window) for size in (height, width))
        shift = tuple(self.window // 2 if self.is_shifted and windows > 1 else 0 for windows in grid)
        padding = [(0, rows * self.window - size) for rows, size in zip(grid, (height, width), strict=True)]
        x = jnp.roll(jnp.pad(x, ((0, 0), *padding, (0, 0))), [-s for s in shift], (1, 2))
        y = self.attend(partition(x, self.window), grid, shift)
        y = nn.Dense(channels, dtype=self.dtype, kernel_init=draw_kernel, name="projection")(y)
        return jnp.roll(unite(y, grid, self.window), shift, (1, 2))[:, :height, :width]

    def attend(self, x: jax.Array, grid: tuple[int, int], shift: tuple[int, int]) -> jax.Array:
        """Returns for each token [B, n, N, C] the mean of the values of its window, by its weights."""
        q, k, v = self.queries_keys_values(x)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        logits = jnp.einsum("bnhqd,bnhkd->bnhqk", q, k, preferred_element_type=wide) + self.biases(wide)
        if any(shift):
            logits += jnp.where(neighbours(grid, self.window, shift), 0, MASKED).astype(wide)[:, None]
        # Softmax, but that the division comes after the product, where there is less to divide.
        weights = jnp.exp(logits - lax.stop_gradient(logits.max(-1, keepdims=True)))
        sums = jnp.einsum("bnhqk,bnhkd->bnhqd", weights.astype(self.dtype), v, preferred_element_type=wide)
        means = sums / weights.sum(-1, keepdims=True)
        return means.astype(self.dtype).swapaxes(2, 3).reshape(x.shape)

    def biases(self, dtype: DTypeLike) -> jax.Array:  # -> [h, N, N]
        """Returns what is added to the logits of each query and key."""
        by_offset = self.biases_by_offset().astype(dtype)
        return jnp.take(by_offset, relative_position_index(self.window), 0, mode="clip").transpose(2, 0, 1)

    def queries_keys_values(self, x: jax.Array) -> tuple[jax.Array, ...]:  # [B, n, N, C] -> 3 of [B, n, h, N, d]
        """Returns the three, so scaled that products of the first two are logits."""
        q, k, v = Projections(self.num_heads, True, self.dtype, name="qkv")(x)
        return q * q.shape[-1] ** -0.5, k, v

    def biases_by_offset(self) -> jax.Array:  # -> [(2 M - 1)^2, h]
        """Returns what is added to the logits, by offset."""
        shape = (2 * self.window - 1) ** 2, self.num_heads
        return self.param("position_table", draw_kernel, shape)


class CosineWindowAttention(WindowAttention):
    """The attention of V2: logits are scaled cosines, and two layers make the biases from the offsets."""

    def queries_keys_values(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the three, so scaled that products of the first two are logits."""
        q, k, v = Projections(self.num_heads, False, self.dtype, name="qkv")(x)
        log_scale = self.param("log_scale", nn.initializers.constant(math.log(10)), (self.num_heads,))
        scale = jnp.exp(jnp.minimum(log_scale, MAX_LOG_SCALE))[:, None, None]
        return (unit_length(q) * scale).astype(self.dtype), unit_length(k).astype(self.dtype), v

    def biases_by_offset(self) -> jax.Array:
        """Returns what is added to the logits, by offset: from 0 to 16."""
        linear = partial(nn.Dense, dtype=self.dtype, kernel_init=draw_kernel)
        hidden = nn.relu(linear(512, name="position_linear1")(relative_offsets(self.window)))
        return 16 * nn.sigmoid(linear(self.num_heads, use_bias=False, name="position_linear2")(hidden))


def unit_length(x: jax.Array) -> jax.Array:  # [..., d]
    """Returns vectors over their length, in float32 or wider; zeros as they are, with a gradient."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))
