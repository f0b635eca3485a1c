"""Swin Transformers: attention within windows that are shifted from block to block.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin and Guo, "Swin Transformer", https://arxiv.org/abs/2103.14030; Liu et al., "Swin
Transformer V2", https://arxiv.org/abs/2111.09883. Defaults are torchvision's. Shapes: B batch, H height, W width,
C channels; M side of a window, n windows of a map, N = M M tokens of a window, h heads, d channels of a head.
"""

import functools
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import torch_linear
from jaxvision.layers.regularize import StochasticDepth
from jaxvision.layers.transformer import Mlp
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import spatial_mean
from jaxvision.weights.names import Line

PATCH = 4  # pixels of a patch's side
MAX_LOG_SCALE = math.log(100)
MASKED = -100.0  # added to the logits of tokens that are not neighbours; the authors' and torchvision's
# "Truncated normal" in torchvision: at -2 and 2, a hundred standard deviations from the mean.
draw_kernel = nn.initializers.normal(0.02)
# The variance is the mean of squared differences: a mean of squares less a squared mean would cancel.
layer_norm = partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)


def swin_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Weights as everywhere in the network, no bias."""
    del fan_in, fan_out
    return draw_kernel, nn.initializers.zeros


@functools.cache
def relative_position_index(window: int) -> np.ndarray:  # -> [N, N]
    """Returns for each query and key of a window which of the (2 M - 1)^2 offsets lies between them."""
    rows, columns = np.divmod(np.arange(window**2), window)
    down, right = (places[:, None] - places + window - 1 for places in (rows, columns))
    return down * (2 * window - 1) + right


@functools.cache
def relative_offsets(window: int) -> np.ndarray:  # -> [(2 M - 1)^2, 2]
    """Returns the offsets down and right, from -1 to 1 on a logarithmic scale (V2, equation 4; torchvision's units)."""
    offsets = np.arange(1 - window, window, dtype=np.float32) / np.float32(window - 1) * 8
    spaced = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / np.float32(3)
    return np.stack(np.meshgrid(spaced, spaced, indexing="ij"), -1).reshape(-1, 2)


@functools.cache
def regions(grid: tuple[int, int], window: int, shift: tuple[int, int]) -> np.ndarray:  # -> [n, N]
    """Returns which part of a shifted map each token is from: parts that met at an edge are no neighbours."""
    along = [
        np.digitize(np.arange(windows * window), [(windows - 1) * window, windows * window - s])
        if s
        else np.zeros(windows * window, int)
        for windows, s in zip(grid, shift, strict=True)
    ]
    whole = 3 * along[0][:, None] + along[1]  # [H, W]
    return np.asarray(partition(whole[None, :, :, None], window)[0, :, :, 0], np.int32)


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
        y = nn.Dense(channels, dtype=self.dtype, kernel_init=draw_kernel, name="output")(y)
        return jnp.roll(unite(y, grid, self.window), shift, (1, 2))[:, :height, :width]

    def attend(self, x: jax.Array, grid: tuple[int, int], shift: tuple[int, int]) -> jax.Array:
        """Returns for each token [B, n, N, C] the mean of the values of its window, by its weights."""
        q, k, v = self.queries_keys_values(x)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        logits = jnp.einsum("bnhqd,bnhkd->bnhqk", q, k, preferred_element_type=wide)
        logits += self.position_bias().astype(wide)[relative_position_index(self.window)].transpose(2, 0, 1)
        if any(shift):
            region = regions(grid, self.window, shift)
            logits += jnp.where(region[:, None] == region[:, :, None], 0, MASKED).astype(wide)[:, None]
        weights = nn.softmax(logits).astype(self.dtype)
        return jnp.einsum("bnhqk,bnhkd->bnqhd", weights, v).reshape(x.shape)

    def queries_keys_values(self, x: jax.Array) -> tuple[jax.Array, ...]:  # [B, n, N, C] -> 3 of [B, n, h, N, d]
        """Returns the three, so scaled that products of the first two are logits."""
        q, k, v = Projections(self.num_heads, True, self.dtype, name="qkv")(x)
        return q * q.shape[-1] ** -0.5, k, v

    def position_bias(self) -> jax.Array:  # -> [(2 M - 1)^2, h]
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

    def position_bias(self) -> jax.Array:
        """Returns what is added to the logits, by offset: from 0 to 16."""
        linear = partial(nn.Dense, dtype=self.dtype, kernel_init=draw_kernel)
        hidden = nn.relu(linear(512, name="position_linear1")(relative_offsets(self.window)))
        return 16 * nn.sigmoid(linear(self.num_heads, use_bias=False, name="position_linear2")(hidden))


def unit_length(x: jax.Array) -> jax.Array:  # [..., d]
    """Returns vectors over their length, in float32 or wider; zeros as they are, with a gradient."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


class SwinBlock(nn.Module):
    """Attention, then two layers for each token, each in a residual branch.

    Attributes:
        attention, mlp, norm: constructors of the layers, with type and initial values bound.
        stochastic_depth: constructor of what leaves a branch out.
        norm_last: whether branches end with the normalisation, as in V2, or begin with it.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., Callable]
    norm: Callable[..., nn.Module]
    stochastic_depth: Callable[..., nn.Module]
    norm_last: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Applies the block."""
        x = x + self.branch(self.attention(name="attention"), self.norm(name="norm1"))(x)
        mlp = partial(self.mlp(4 * x.shape[-1], name="mlp"), train=train)
        return x + self.branch(mlp, self.norm(name="norm2"))(x)

    def branch(self, layer: Callable, norm: Callable) -> Callable[[jax.Array], jax.Array]:
        """Returns what is added."""
        drop = self.stochastic_depth()
        return lambda x: drop(norm(layer(x)) if self.norm_last else layer(norm(x)))


class PatchMerging(nn.Module):
    """Joins the channels of 2x2 tokens, and halves them by a linear layer.

    Attributes:
        dense, norm: constructors of the layers, with type and initial values bound.
        norm_last: whether the normalisation comes after the linear layer, as in V2.
    """

    dense: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    norm_last: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/2, W/2, 2 C], rounded up
        """Merges; a last odd row or column is merged with zeros."""
        batch, height, width, channels = x.shape
        x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        x = x.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels)
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(batch, x.shape[1], x.shape[3], 4 * channels)
        reduction, norm = self.dense(2 * channels, use_bias=False, name="reduction"), self.norm(name="norm")
        return norm(reduction(x)) if self.norm_last else reduction(norm(x))


class PatchEmbedding(nn.Module):
    """A convolution of patches that do not overlap, as the matrix product that it is.

    Attributes:
        features: channels of a token.
        dtype: of the computation; parameters are float32.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/4, W/4, features], rounded down
        """Applies the layer."""
        rows, columns, channels = image.shape[1] // PATCH, image.shape[2] // PATCH, image.shape[3]
        kernel_init, bias_init = torch_linear(PATCH**2 * channels, self.features)
        kernel = self.param("kernel", kernel_init, (PATCH, PATCH, channels, self.features))
        bias = self.param("bias", bias_init, (self.features,))
        image, kernel, bias = promote_dtype(image, kernel, bias, dtype=self.dtype)
        patches = image[:, : rows * PATCH, : columns * PATCH].reshape(-1, rows, PATCH, columns, PATCH, channels)
        return (
            patches.swapaxes(2, 3).reshape(-1, rows, columns, kernel[..., 0].size) @ kernel.reshape(-1, self.features)
            + bias
        )


class Swin(nn.Module):
    """Patches of 4x4 pixels, and stages of blocks; each stage after the first halves the resolution.

    Attributes:
        depths: blocks in each stage.
        num_heads: of the blocks of each stage.
        width: channels of the first stage; each further has twice as many.
        window: height and width of the windows, in tokens.
        version: 1 or 2.
        stochastic_depth_rate: of the last block; that of the others grows linearly from 0 at the first.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32, and so are sums and logits.
    """

    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    width: int
    window: int
    version: int = 1
    stochastic_depth_rate: float = 0.0
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layer before pooling; the others are made in `features`."""
        self.norm = layer_norm(dtype=self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ..."""
        check_image(image, self.in_channels, at_least=PATCH)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=draw_kernel)
        norm = partial(layer_norm, dtype=self.dtype)
        attention = {1: WindowAttention, 2: CosineWindowAttention}[self.version]
        mlp = partial(Mlp, kernel_init=draw_kernel, dtype=self.dtype)
        rates = iter(self.stochastic_depth_rates())
        materialize = materializer(image)

        x = norm(name="patch_norm")(PatchEmbedding(self.width, self.dtype, name="patch_embedding")(image))
        stages = []
        for i, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True), start=1):
            if i > 1:
                x = PatchMerging(dense, norm, self.version == 2, name=f"stage{i}_merging")(x)
            for j in range(1, depth + 1):
                attend = partial(attention, heads, self.window, j % 2 == 0, self.dtype)
                drop = partial(StochasticDepth, train, next(rates))
                x = SwinBlock(attend, mlp, norm, drop, self.version == 2, name=f"stage{i}_block{j}")(x, train=train)
                x = materialize(x)
            stages.append(x)
        return tuple(stages)

    def stochastic_depth_rates(self) -> list[float]:
        """Returns the rate of each block."""
        last = max(sum(self.depths) - 1, 1)
        return [self.stochastic_depth_rate * index / last for index in range(sum(self.depths))]

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of the tokens, each normalised."""
        del train
        return spatial_mean(self.norm(feature_map))

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files."""
        return {"torchvision": torchvision_names(self.window, self.version), "timm": timm_names(self.version)}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image: 32 windows long and wide."""
        return jax.ShapeDtypeStruct((1, 32 * self.window, 32 * self.window, self.in_channels), jnp.float32)


def torchvision_names(window: int, version: int) -> dict[str, Any]:
    """Returns the lines for torchvision's files, which hold the index and the offsets too."""
    attention = "features.{2*i-1}.{j-1}.attn"
    constants = {f"{attention}.relative_position_index": relative_position_index(window).ravel()}
    if version == 2:
        shape = 1, 2 * window - 1, 2 * window - 1, 2
        constants[f"{attention}.relative_coords_table"] = relative_offsets(window).reshape(shape)
    return {
        "patch_embedding": "features.0.0",
        "patch_norm": "features.0.2",
        "stage{i}_merging/{layer}": "features.{2*i-2}.{layer}",
        "stage{i}_block{j}/norm{k}": "features.{2*i-1}.{j-1}.norm{k}",
        "stage{i}_block{j}/mlp/linear{k}": "features.{2*i-1}.{j-1}.mlp.{3*k-3}",
        "stage{i}_block{j}/attention/qkv": f"{attention}.qkv",
        **attention_names(attention, constants),
        "norm": "norm",
        "head": "head",
    }


def timm_names(version: int) -> dict[str, Any]:
    """Returns the lines for timm's files."""
    attention, qkv = "layers.{i-1}.blocks.{j-1}.attn", "stage{i}_block{j}/attention/qkv"
    without_keys = Line((f"{attention}.q_bias", f"{attention}.v_bias"), transform="without_bias_of_keys")
    return {
        "patch_embedding": "patch_embed.proj",
        "patch_norm": "patch_embed.norm",
        "stage{i}_merging/{layer}": "layers.{i-1}.downsample.{layer}",
        "stage{i}_block{j}/norm{k}": "layers.{i-1}.blocks.{j-1}.norm{k}",
        "stage{i}_block{j}/mlp/linear{k}": "layers.{i-1}.blocks.{j-1}.mlp.fc{k}",
        f"{qkv}/kernel": f"{attention}.qkv.weight",
        f"{qkv}/bias": without_keys if version == 2 else f"{attention}.qkv.bias",
        **attention_names(attention),
        "norm": "norm",
        "head": "head.fc",
    }


def attention_names(foreign: str, constants: Mapping[str, np.ndarray] = MappingProxyType({})) -> dict[str, Any]:
    """Returns the lines that both layouts and versions share."""
    ours = "stage{i}_block{j}/attention"
    return {
        f"{ours}/output": f"{foreign}.proj",
        f"{ours}/position_table": Line(f"{foreign}.relative_position_bias_table", constants=constants),
        f"{ours}/position_linear{{k}}": f"{foreign}.cpb_mlp.{{2*k-2}}",
        f"{ours}/log_scale": Line(f"{foreign}.logit_scale", transform="vector_as_map", constants=constants),
    }


_swin = partial(classifier, Swin, head_init=swin_linear)
_tiny = partial(_swin, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), width=96, stochastic_depth_rate=0.2)
_small = partial(_swin, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), width=96, stochastic_depth_rate=0.3)
_base = partial(_swin, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), width=128, stochastic_depth_rate=0.5)

VARIANTS = {
    "swin_t": partial(_tiny, window=7),
    "swin_s": partial(_small, window=7),
    "swin_b": partial(_base, window=7),
    "swin_v2_t": partial(_tiny, window=8, version=2),
    "swin_v2_s": partial(_small, window=8, version=2),
    "swin_v2_b": partial(_base, window=8, version=2),
}
