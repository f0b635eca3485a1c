"""Tokens and where they stand.

Shapes: B batch, H height, W width, C channels; h and w of the grid of patches, N = h w tokens, P tokens before them,
which stand nowhere, D dimension; T queries, S keys, d dimension of a head.
"""

import functools
import math
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.ops.resample import corner_aligned_matrix, resampling_matrix, resampling_taps

Resizing = Literal["torchvision", "timm", "transformers"]


class PatchEmbedding(nn.Module):
    """A linear layer upon each patch of an image: a convolution whose stride is its kernel, as one matrix product.

    Attributes:
        patch_size: height and width of the patches, in pixels.
        dim: D.
        kernel_init, bias_init: draw the weights, a convolution's [patch_size, patch_size, C, D], and the biases.
        dtype: of the computation; parameters are float32.
    """

    patch_size: int
    dim: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, h, w, D]
        """Embeds the patches.

        Raises:
            ValueError: the image is no whole number of patches high and wide.
        """
        batch, height, width, channels = image.shape
        size = self.patch_size
        if 0 in (height // size, width // size) or height % size or width % size:
            raise ValueError(f"images must be a multiple of {size} pixels high and wide, got {height}x{width}")
        kernel = self.param("kernel", self.kernel_init, (size, size, channels, self.dim))
        bias = self.param("bias", self.bias_init, (self.dim,))
        image, kernel, bias = promote_dtype(image, kernel, bias, dtype=self.dtype)
        patches = image.reshape(batch, height // size, size, width // size, size, channels)
        patches = patches.transpose(0, 1, 3, 2, 4, 5)  # [B, h, w, size, size, C]
        return patches.reshape(*patches.shape[:3], -1) @ kernel.reshape(-1, self.dim) + bias


def sine_cosine_1d(
    length: int, dim: int, temperature: float = 10_000.0, *, halves: bool = False
) -> np.ndarray:  # -> [length, D], float64
    """Returns positions of a sequence: sines and cosines in turn, of wavelengths from 2 pi to `temperature` 2 pi.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Args:
        length: of the sequence.
        dim: D.
        temperature: of the longest wave.
        halves: whether all sines come before all cosines, as in tensor2tensor and Marian.

    Raises:
        ValueError: the dimension is odd.
    """
    if dim % 2:
        raise ValueError(f"positions of sines and cosines need an even dimension, got {dim}")
    angles = np.arange(length)[:, None] / temperature ** (np.arange(0, dim, 2) / dim)
    waves = np.sin(angles), np.cos(angles)
    return np.concatenate(waves, -1) if halves else np.stack(waves, -1).reshape(length, dim)


def rotate(x: jax.Array, places: jax.Array, temperature: float = 10_000.0) -> jax.Array:  # [..., T, H, d], [T]
    """Turns queries or keys by angles that grow with their place, so that products depend on the distance alone.

    Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34, but that the numbers that are turned together are not
    neighbours: number i goes with number i + d / 2, as in GPT-NeoX and LLaMA.

    Raises:
        ValueError: d is odd.
    """
    dim, wide = x.shape[-1], jnp.promote_types(x.dtype, jnp.float32)
    if dim % 2:
        raise ValueError(f"rotary positions need heads of an even dimension, got {dim}")
    angles = places[:, None].astype(wide) * (temperature ** (-np.arange(0, dim, 2) / dim)).astype(wide)
    cosine, sine = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]  # [T, 1, d / 2]
    first, second = jnp.split(x.astype(wide), 2, -1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1).astype(x.dtype)


class RelativeBias(nn.Module):
    """A bias of attention for each head and each distance, the large ones in groups, from a table.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1 (T5).

    Attributes:
        num_heads: H.
        causal: whether no key after the query counts; all groups are then of those before.
        num_groups: half of them of a single distance, the others each of a range larger than the last.
        max_distance: from which on all distances are one group.
    """

    num_heads: int
    causal: bool
    num_groups: int = 32
    max_distance: int = 128

    @nn.compact
    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:  # [T], [S], their places -> [1, H, T, S]
        """Returns what is added to the scores."""
        table = self.param("table", nn.initializers.normal(0.02), (self.num_groups, self.num_heads))
        distances = queries[:, None] - keys  # [T, S]
        groups = distance_groups(self.num_groups // (1 if self.causal else 2), self.max_distance)
        group = jnp.asarray(groups)[jnp.clip(jnp.abs(distances), 0, self.max_distance)]
        group = jnp.where(distances >= 0, group, 0 if self.causal else group + self.num_groups // 2)
        return jnp.take(table, group, 0, mode="clip").transpose(2, 0, 1)[None]


@functools.cache
def distance_groups(num_groups: int, max_distance: int) -> np.ndarray:  # -> int32 [max_distance + 1]
    """Returns the group of each distance: of half of them one, then ranges even on a logarithmic scale."""
    alone = num_groups // 2
    if not 0 < alone < max_distance:
        raise ValueError(f"{num_groups} groups of distances up to {max_distance}: 2 or more, and fewer than twice that")
    far = np.arange(alone, max_distance + 1) / np.float32(alone)
    ranges = np.log(far).astype(np.float32) / np.float32(math.log(max_distance / alone)) * (num_groups - alone)
    return np.concatenate([np.arange(alone), np.minimum(alone + ranges.astype(int), num_groups - 1)]).astype(np.int32)


def sine_cosine_2d(
    height: int, width: int, dim: int, temperature: float = 10_000.0
) -> np.ndarray:  # -> [h w, D], float64
    """Returns positions of a grid, row by row: sines and cosines of the column, then of the row.

    Beyer, Zhai and Kolesnikov 2022, https://arxiv.org/abs/2205.01580, and its code:
    https://github.com/google-research/big_vision/blob/main/big_vision/models/vit.py

    Raises:
        ValueError: the dimension is no multiple of 4, or below 8.
    """
    if dim % 4 or dim < 8:
        raise ValueError(f"positions in two directions need a dimension that is a multiple of 4, 8 or more; got {dim}")
    frequencies = temperature ** -(np.arange(dim // 4) / (dim // 4 - 1))
    rows, columns = np.divmod(np.arange(height * width), width)
    angles = [place[:, None] * frequencies for place in (columns, rows)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], -1)


@partial(jax.jit, static_argnums=(1, 2, 3))
def resize_positions(
    positions: jax.Array, size: tuple[int, int], new_size: tuple[int, int], resizing: Resizing
) -> jax.Array:  # [..., P + N, D] -> [..., P + N', D]
    """Resizes learnt positions to another grid of patches; the first P, of tokens that stand nowhere, stay.

    All are bicubic: torchvision's `interpolate_embeddings` aligns the corners of both grids, timm's
    `resample_abs_pos_embed` and Hugging Face's `interpolate_pos_encoding` their edges, timm with antialiasing.

    Args:
        positions: [..., P + h w, D].
        size: h and w.
        new_size: of the new grid.
        resizing: whose.

    Raises:
        ValueError: there are fewer positions than places in the grid, or an unknown kind.
    """
    if resizing not in ("torchvision", "timm", "transformers"):
        raise ValueError(f"resizing must be one of torchvision, timm, transformers, got {resizing!r}")
    num_prefix = positions.shape[-2] - size[0] * size[1]
    if num_prefix < 0:
        raise ValueError(f"{positions.shape[-2]} positions are fewer than the places of a {size[0]}x{size[1]} grid")
    if size == new_size:
        return positions
    prefix, grid = jnp.split(positions, [num_prefix], -2)
    grid = grid.reshape(*grid.shape[:-2], *size, -1).astype(jnp.promote_types(positions.dtype, jnp.float32))
    down, across = (_matrix(old, new, resizing) for old, new in zip(size, new_size, strict=True))
    grid = jnp.einsum("mh,nw,...hwd->...mnd", down, across, grid).astype(positions.dtype)
    return jnp.concatenate([prefix, grid.reshape(*grid.shape[:-3], -1, grid.shape[-1])], -2)


def _matrix(size: int, new_size: int, resizing: Resizing) -> jax.Array:  # -> [new_size, size]
    if resizing == "torchvision":
        return corner_aligned_matrix(size, new_size)
    whole = jnp.zeros(1, jnp.int32), jnp.full(1, size)
    taps = resampling_taps(size, *whole, new_size, method="bicubic", antialias=resizing == "timm")
    return resampling_matrix(*taps, size)[0]
