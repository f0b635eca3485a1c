"""Swin Transformers: attention within windows that are shifted from block to block.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin and Guo, "Swin Transformer", https://arxiv.org/abs/2103.14030; Liu et al., "Swin
Transformer V2", https://arxiv.org/abs/2111.09883. Defaults are torchvision's. `swin_tiny_patch2_window4_32`, for images
of 32x32 pixels, is that of Lee, Lee and Song, "Vision Transformer for Small-Size Datasets",
https://arxiv.org/abs/2112.13492, as in https://github.com/aanna0701/SPT_LSA_ViT, models/create_model.py. Shapes:
B batch, H height, W width, P side of a patch in pixels, C channels.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax import lax
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.checks import check_counts
from jaxvision.layers.embedding import PatchEmbedding
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import torch_linear
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.regularize import StochasticDepth
from jaxvision.layers.stack import check_not_stacked, stack_of
from jaxvision.layers.transformer import Mlp
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import spatial_mean
from jaxvision.transformer import swin_names
from jaxvision.transformer.swin_attention import CosineWindowAttention, WindowAttention, draw_kernel

swin_norm = partial(layer_norm, epsilon=1e-5)


def swin_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Weights as everywhere in the network, no bias."""
    del fan_in, fan_out
    return draw_kernel, nn.initializers.zeros


class SwinBlock(nn.Module):
    """Attention, then two layers for each token, each in a residual branch.

    Attributes:
        attention, mlp, norm: constructors of the layers, with type and initial values bound.
        stochastic_depth: constructor of what leaves a branch out.
        mlp_ratio: outputs of the first of the two layers, as a multiple of the channels.
        norm_last: whether branches end with the normalisation, as in V2, or begin with it.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stochastic_depth: Callable[..., nn.Module]
    mlp_ratio: int
    norm_last: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Applies the block."""
        mlp = self.mlp(self.mlp_ratio * x.shape[-1], name="mlp")
        x = x + self._branch(x, self.attention(name="attention"), "norm1")
        return x + self._branch(x, partial(mlp, train=train), "norm2")

    def _branch(self, x: jax.Array, layer: Callable[[jax.Array], jax.Array], norm_name: str) -> jax.Array:
        norm = self.norm(name=norm_name)
        return self.stochastic_depth()(norm(layer(x)) if self.norm_last else layer(norm(x)))


class PatchMerging(nn.Module):
    """Joins the channels of 2x2 tokens, and halves them by a linear layer.

    Attributes:
        norm_last: whether the normalisation comes after the linear layer, as in V2, or before it.
        dtype: of the computation; parameters are float32.
    """

    norm_last: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/2, W/2, 2 C], rounded up
        """Merges; zeros complete an odd row or column."""
        batch, height, width, channels = x.shape
        x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        x = x.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels).transpose(0, 1, 3, 4, 2, 5)
        x = x.reshape(*x.shape[:3], 4 * channels)
        fields = {"use_bias": False, "kernel_init": draw_kernel, "dtype": self.dtype}
        reduction, norm = nn.Dense(2 * channels, **fields, name="reduction"), swin_norm(dtype=self.dtype, name="norm")
        return norm(reduction(x)) if self.norm_last else reduction(norm(x))


class Swin(nn.Module):
    """Patches of pixels, and stages of blocks; each stage after the first halves the resolution.

    Attributes:
        depths: blocks in each stage.
        num_heads: of the blocks of each stage.
        width: channels of the first stage; each further has twice as many.
        window: height and width of the windows, in tokens.
        patch_size: P.
        mlp_ratio: outputs of the first of the two layers for each token, as a multiple of its channels.
        version: 1 or 2.
        stochastic_depth_rate: of the last block; that of the others grows linearly from 0 at the first.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks of a stage are the steps of one loop, two to a step, so that the time of compiling does
            not grow with the depth. Variables are the same: their parameters are stacked when the model is applied, or
            by `stack_blocks` once.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32, and so are sums and logits.
    """

    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    width: int
    window: int
    patch_size: int = 4
    mlp_ratio: int = 4
    version: int = 1
    stochastic_depth_rate: float = 0.0
    remat: bool = False
    scan: bool = False
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layer before pooling; the others are made in `features`."""
        self.norm = swin_norm(dtype=self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/P, W/P, C1], [B, H/2P, W/2P, C2], ...

        Rows and columns of pixels that make no whole patch are left out; odd ones of tokens are rounded up.

        Raises:
            ValueError: an option that cannot be.
        """
        self._check_options()
        check_image(image, self.in_channels, at_least=self.patch_size)
        rates, materialize = iter(self.stochastic_depth_rates()), materializer(image)
        x, stages = self._embed(image), []
        for i, depth in enumerate(self.depths, start=1):
            if i > 1:
                x = PatchMerging(self.version == 2, self.dtype, name=f"stage{i}_merging")(x)
            of_stage = list(itertools.islice(rates, depth))
            looped = 0 if self.is_initializing() else len(self._looped(i))
            if looped:
                x = self._scanned(i, x, of_stage[:looped], train)
            else:
                check_not_stacked(self, f"stage{i}_blocks")
            for j in range(looped + 1, depth + 1):
                x = materialize(self._run(i, j, x, of_stage[j - 1], train))
            stages.append(x)
        return tuple(stages)

    def _looped(self, i: int) -> list[str]:
        """Returns the names of the blocks of a stage that are run as a loop."""
        return [f"stage{i}_block{j}" for j in range(1, self.depths[i - 1] // 2 * 2 + 1)] if self.scan else []

    def stacks(self) -> dict[str, Sequence[str]]:
        """Returns the blocks that are run as loops, by the name of their stack."""
        return {f"stage{i}_blocks": looped for i in range(1, len(self.depths) + 1) if (looped := self._looped(i))}

    def _run(self, i: int, j: int, x: jax.Array, rate: float, train: bool) -> jax.Array:
        run = lambda block, x: block(x, train=train)
        return (nn.remat(run) if self.remat else run)(self._block(i, j, partial(StochasticDepth, train, rate)), x)

    def _scanned(self, i: int, x: jax.Array, rates: Sequence[float], train: bool) -> jax.Array:  # [B, H, W, C]
        """Applies blocks of a stage as a loop: each of its steps has windows that are not shifted, and then are."""
        drops = train and self.stochastic_depth_rate > 0
        keys = jax.random.split(self.make_rng("dropout"), len(rates)) if drops else None

        def step(x, pair):
            for j in (1, 2):
                params, rate, key = jax.tree.map(itemgetter(j - 1), pair)
                drop = partial(StochasticDepth, train, rate if drops else 0.0)
                block = self._block(i, j, drop, parent=None)
                x = block.apply({"params": params}, x, train=train, rngs={"dropout": key} if drops else None)
            return x, None

        stack = stack_of(self.variables["params"], f"stage{i}_blocks", self._looped(i))
        in_pairs = lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:])
        pairs = jax.tree.map(in_pairs, (stack, jnp.array(rates), keys))
        return lax.scan(jax.checkpoint(step) if self.remat else step, x, pairs)[0]

    def _embed(self, image: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/P, W/P, width]
        patch = self.patch_size
        height, width = (size - size % patch for size in image.shape[1:3])
        draws = torch_linear(patch**2 * self.in_channels, self.width)
        x = PatchEmbedding(patch, self.width, *draws, self.dtype, name="patch_embedding")(image[:, :height, :width])
        return swin_norm(dtype=self.dtype, name="patch_norm")(x)

    def _block(self, i: int, j: int, stochastic_depth: Callable[..., nn.Module], **options: Any) -> SwinBlock:
        """Returns block j of stage i; every second one has shifted windows."""
        kind = {1: WindowAttention, 2: CosineWindowAttention}[self.version]
        attention = partial(kind, self.num_heads[i - 1], self.window, j % 2 == 0, self.dtype)
        mlp = partial(Mlp, kernel_init=draw_kernel, dtype=self.dtype)
        norm = partial(swin_norm, dtype=self.dtype)
        fields = {"mlp_ratio": self.mlp_ratio, "norm_last": self.version == 2, **options}
        return SwinBlock(attention, mlp, norm, stochastic_depth, **fields, name=f"stage{i}_block{j}")

    def _check_options(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"version must be 1 or 2, got {self.version}")
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be 1 pixel or more, got {self.patch_size}")
        check_counts(mlp_ratio=self.mlp_ratio, width=self.width, in_channels=self.in_channels)
        if self.window < 2:
            raise ValueError(f"window must be 2 tokens or more, got {self.window}")
        if not self.depths:
            raise ValueError("depths must name one stage or more, got none")
        check_counts(**{f"depths[{i}]": depth for i, depth in enumerate(self.depths)})
        check_counts(**{f"num_heads[{i}]": heads for i, heads in enumerate(self.num_heads)})
        widths = [self.width * 2**i for i in range(len(self.depths))]
        if len(self.num_heads) != len(widths) or any(w % h for w, h in zip(widths, self.num_heads, strict=True)):
            raise ValueError(f"num_heads must divide the channels of the stages, {widths}; got {self.num_heads}")

    def stochastic_depth_rates(self) -> list[float]:
        """Returns the rate of each block."""
        last = max(sum(self.depths) - 1, 1)
        return [self.stochastic_depth_rate * index / last for index in range(sum(self.depths))]

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of the tokens, each normalised."""
        del train
        return spatial_mean(self.norm(feature_map))

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in the files of torchvision, timm and transformers."""
        return {
            "torchvision": swin_names.torchvision(self.window, self.version),
            "timm": swin_names.timm(self.version),
            "transformers": swin_names.transformers(self.depths, self.version),
        }

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image, whose map is one window in the last stage."""
        self._check_options()
        size = self.window * self.patch_size * 2 ** (len(self.depths) - 1)
        return jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)


_swin = partial(classifier, Swin, head_init=swin_linear)
_tiny = partial(_swin, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), width=96, stochastic_depth_rate=0.2)
_small = partial(_swin, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), width=96, stochastic_depth_rate=0.3)
_base = partial(_swin, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), width=128, stochastic_depth_rate=0.5)
_tiny_32 = partial(_swin, depths=(2, 6, 4), num_heads=(3, 6, 12), width=96, stochastic_depth_rate=0.1)

VARIANTS = {
    "swin_t": partial(_tiny, window=7),
    "swin_s": partial(_small, window=7),
    "swin_b": partial(_base, window=7),
    "swin_v2_t": partial(_tiny, window=8, version=2),
    "swin_v2_s": partial(_small, window=8, version=2),
    "swin_v2_b": partial(_base, window=8, version=2),
    "swin_tiny_patch2_window4_32": partial(_tiny_32, window=4, patch_size=2, mlp_ratio=2, num_classes=10),
}
