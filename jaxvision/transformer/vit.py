"""Vision Transformers: an image as a sequence of patches.

Dosovitskiy et al., "An image is worth 16x16 words", https://arxiv.org/abs/2010.11929; Beyer, Zhai and Kolesnikov,
"Better plain ViT baselines for ImageNet-1k", https://arxiv.org/abs/2205.01580 (SimpleViT). Defaults are torchvision's
of vit_b_16 and the like, the paper's of SimpleViT, and timm's of the others. Shapes: B batch, H height, W width,
C channels; h and w of the grid of patches, P tokens before theirs, N = P + h w tokens, D dimension, K classes.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer, lecun_normal, normal, variance_scaling, xavier_uniform, zeros
from jax import lax
from jax.typing import DTypeLike

from jaxvision.classifier import Classifier, classifier
from jaxvision.layers.attention import Implementation, MultiHeadAttention
from jaxvision.layers.checks import check_counts, check_rates
from jaxvision.layers.embedding import PatchEmbedding, Resizing, resize_positions, sine_cosine_2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import LinearInit, torch_linear
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.stack import block_names, check_not_stacked, stack_of
from jaxvision.layers.transformer import EncoderBlock, Mlp
from jaxvision.ops.materialize import materializer
from jaxvision.transformer import vit_names


class Initial(NamedTuple):
    """How parameters are drawn: weights and bias of the patches, and what publishers draw differently of the rest."""

    patch: LinearInit
    class_token: Initializer
    qkv: Initializer
    projection: Initializer
    mlp: Initializer
    mlp_bias: Initializer


def _linear(kernel_init: Initializer, fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    del fan_in, fan_out
    return kernel_init, zeros


# "Truncated normal" in torchvision and timm: at -2 and 2, many standard deviations from the mean.
small_normal = normal(0.02)
zero_linear = partial(_linear, zeros)
normal_linear = partial(_linear, small_normal)

TORCHVISION_INITIAL = Initial(
    patch=partial(_linear, variance_scaling(1.0, "fan_in", "normal")),
    class_token=zeros,
    qkv=xavier_uniform(),  # of the three as one matrix, as torch.nn.MultiheadAttention draws them
    projection=variance_scaling(1 / 3, "fan_in", "uniform"),
    mlp=xavier_uniform(),
    mlp_bias=normal(1e-6),
)
TIMM_INITIAL = Initial(
    patch=torch_linear,
    class_token=normal(1e-6),
    qkv=small_normal,
    projection=small_normal,
    mlp=small_normal,
    mlp_bias=zeros,
)
PAPER_INITIAL = Initial(
    patch=partial(_linear, lecun_normal()),
    class_token=zeros,
    qkv=variance_scaling(1.0, "fan_in", "uniform"),  # Xavier's, of each of the three by itself
    projection=xavier_uniform(),
    mlp=xavier_uniform(),
    mlp_bias=normal(1e-6),
)


class ViT(nn.Module):
    """Patches and their positions, blocks of attention, and one normalisation after them.

    Images may have any height and width that are multiples of the patches'. Positions that were learnt for another
    grid of patches are resized: when the model is applied to images of another size, and when `load_weights` reads a
    file of another `image_size`, so that the parameters of an `image_size` can be trained further from any other's.

    Attributes:
        patch_size: height and width of the patches, in pixels.
        depth: blocks.
        dim: D.
        num_heads: of attention in each block.
        initial: how parameters are drawn.
        image_size: height and width of the images that positions are learnt for, in pixels.
        pooling: what the head sees: a "class_token", which stands before the patches, or the "mean" of the patches,
            which are then all the tokens there are.
        distilled: whether a token that learns from a teacher follows the class token, as in
            `jaxvision.transformer.deit`.
        learned_positions: whether they are parameters, or those of sines and cosines.
        resizing: whose interpolation resizes positions, see `jaxvision.layers.embedding.resize_positions`.
        dropout_rate: share of the tokens' activations dropped in training: with positions added, and in each block
            after attention and after both layers of the perceptron.
        attention_dropout_rate: share of the weights of attention dropped in training.
        stochastic_depth_rate: of the last block; that of the others grows linearly from 0 at the first.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks are the steps of one loop, so that the time of compiling does not grow with the depth.
            Variables are the same: their parameters are stacked when the model is applied, or by `stack_blocks` once.
        epsilon: of the normalisations.
        implementation: of attention, see `jaxvision.layers.attention.dot_product_attention`.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32, and so are softmax and the sums of the normalisations.
    """

    patch_size: int
    depth: int
    dim: int
    num_heads: int
    initial: Initial = TIMM_INITIAL
    image_size: int = 224
    pooling: Literal["class_token", "mean"] = "class_token"
    distilled: bool = False
    learned_positions: bool = True
    resizing: Resizing = "timm"
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    remat: bool = False
    scan: bool = False
    epsilon: float = 1e-6
    implementation: Implementation | None = None
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers.

        Raises:
            ValueError: options that are unknown or do not go together.
        """
        self._check()
        patch_init, patch_bias_init = self.initial.patch(self.patch_size**2 * self.in_channels, self.dim)
        self.patch_embedding = PatchEmbedding(self.patch_size, self.dim, patch_init, patch_bias_init, self.dtype)
        tokens = {"class_token": self.initial.class_token, "distillation_token": small_normal}
        names = list(tokens)[: self.num_prefix]
        self.prefix = [self.param(name, tokens[name], (self.dim,)) for name in names]
        if self.learned_positions:
            shape = (1, self.num_prefix + math.prod(self.grid), self.dim)
            self.learnt = self.param("positions", small_normal, shape)
        for i, rate in enumerate(self.stochastic_depth_rates(), start=1):
            setattr(self, f"block{i}", self._block(rate))
        self.norm = layer_norm(epsilon=self.epsilon, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout_rate)

    def _check(self) -> None:
        if self.pooling not in ("class_token", "mean"):
            raise ValueError(f"pooling must be class_token or mean, got {self.pooling!r}")
        if self.distilled and self.pooling == "mean":
            raise ValueError('distilled=True is for pooling="class_token": the second head sees a token of its own')
        check_counts(patch_size=self.patch_size, image_size=self.image_size, in_channels=self.in_channels)
        check_counts(depth=self.depth, dim=self.dim, num_heads=self.num_heads)
        check_rates(dropout_rate=self.dropout_rate, attention_dropout_rate=self.attention_dropout_rate)
        check_rates(stochastic_depth_rate=self.stochastic_depth_rate)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size must be a multiple of the patches' {self.patch_size} pixels, got {self.image_size}"
            )

    def _block(self, stochastic_depth_rate: float | jax.Array, **options: Any) -> EncoderBlock:
        attention = partial(
            MultiHeadAttention,
            self.num_heads,
            self.attention_dropout_rate,
            qkv_init=self.initial.qkv,
            kernel_init=self.initial.projection,
            implementation=self.implementation,
            dtype=self.dtype,
        )
        inits = {"kernel_init": self.initial.mlp, "bias_init": self.initial.mlp_bias}
        mlp = partial(Mlp, 4 * self.dim, self.dropout_rate, **inits, dtype=self.dtype)
        norm = partial(layer_norm, epsilon=self.epsilon, dtype=self.dtype)
        return EncoderBlock(attention, mlp, norm, self.dropout_rate, stochastic_depth_rate, **options)

    @property
    def num_prefix(self) -> int:
        """P, the tokens before those of the patches."""
        return (self.pooling == "class_token") + self.distilled

    @property
    def grid(self) -> tuple[int, int]:
        """The h and w that positions are learnt for."""
        return (self.image_size // self.patch_size,) * 2

    def stochastic_depth_rates(self) -> list[float]:
        """Returns the rate of each block."""
        return [self.stochastic_depth_rate * index / max(self.depth - 1, 1) for index in range(self.depth)]

    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the tokens that each block gives, [B, N, D]; those of the patches are the last h w, row by row."""
        tokens, stages, materialize = self.embed(image, train=train), [], materializer(image)
        if self.scan and not (self.is_initializing() or self.is_mutable_collection("intermediates")):
            return self._scanned(tokens, train)
        for i in range(1, self.depth + 1):
            tokens = materialize(self._run(i, tokens, train))
            stages.append(tokens)
        return tuple(stages)

    def embed(self, image: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, N, D]
        """Returns the tokens that the first block is given."""
        check_image(image, self.in_channels)
        patches = self.patch_embedding(image)  # [B, h, w, D]
        batch, *grid, dim = patches.shape
        prefix = [jnp.broadcast_to(token.astype(patches.dtype), (batch, 1, dim)) for token in self.prefix]
        tokens = jnp.concatenate([*prefix, patches.reshape(batch, -1, dim)], 1)
        return self.drop(tokens + self._positions(tuple(grid)).astype(tokens.dtype), deterministic=not train)

    def _positions(self, grid: tuple[int, int]) -> jax.Array:  # -> [1, N, D]
        if self.learned_positions:
            return resize_positions(self.learnt, self.grid, grid, self.resizing)
        positions = np.pad(sine_cosine_2d(*grid, self.dim), ((self.num_prefix, 0), (0, 0)))
        return jnp.asarray(positions[None], jnp.promote_types(self.dtype, jnp.float32))

    def _scanned(self, tokens: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        stack = stack_of(self.variables["params"], "blocks", block_names(self.depth))
        drops = train and max(self.dropout_rate, self.attention_dropout_rate, self.stochastic_depth_rate) > 0
        keys = jax.random.split(self.make_rng("dropout"), self.depth) if drops else None
        rates = jnp.array(self.stochastic_depth_rates()) if self.stochastic_depth_rate else None

        def step(tokens, at):
            params, rate, key = at
            block = self._block(0.0 if rate is None else rate, parent=None)
            tokens = block.apply({"params": params}, tokens, train=train, rngs={"dropout": key} if drops else None)
            return tokens, tokens

        _, stages = lax.scan(jax.checkpoint(step) if self.remat else step, tokens, (stack, rates, keys))
        return tuple(stages[i] for i in range(self.depth))

    def stacks(self) -> dict[str, Sequence[str]]:
        """Returns the blocks that are run as a loop, by the name of their stack."""
        return {"blocks": block_names(self.depth)} if self.scan else {}

    def _run(self, number: int, tokens: jax.Array, train: bool) -> jax.Array:
        check_not_stacked(self, "blocks")
        run = lambda block, tokens: block(tokens, train=train)
        return (nn.remat(run) if self.remat else run)(getattr(self, f"block{number}"), tokens)

    def last_block(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [B, N, D] -> [B, N, D]
        """Returns what the last block makes of the tokens that it is given."""
        return self._run(self.depth, tokens, train)

    def as_map(self, tokens: jax.Array, size: tuple[int, int]) -> jax.Array:  # [B, N, D] -> [B, h, w, D]
        """Returns the patches' tokens where they stand in an image of that height and width, in pixels."""
        height, width = (length // self.patch_size for length in size)
        return tokens[:, self.num_prefix :].reshape(len(tokens), height, width, -1)

    def pool(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [B, N, D] -> [B, D]
        """Returns the class token, the mean of that and of the distillation token, or that of the patches' tokens."""
        del train
        if self.num_prefix == 1:
            return self.first_tokens(tokens)[:, 0]
        normalised = self.first_tokens(tokens) if self.distilled else self.norm(tokens)
        return normalised.mean(1, dtype=jnp.promote_types(self.dtype, jnp.float32)).astype(tokens.dtype)

    def first_tokens(self, tokens: jax.Array) -> jax.Array:  # [B, N, D] -> [B, P, D]
        """Returns the tokens before those of the patches, normalised."""
        return self.norm(tokens[:, : self.num_prefix])

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in the files of torchvision, old ones as published, of timm and of transformers."""
        if self.distilled:
            return {"timm": vit_names.TIMM_DISTILLED, "transformers": vit_names.TRANSFORMERS_DISTILLED}
        if self.pooling == "mean":
            return {"timm": vit_names.TIMM}
        return {
            "torchvision": vit_names.TORCHVISION,
            "timm": vit_names.TIMM,
            "transformers": vit_names.TRANSFORMERS,
            "torchvision_old": vit_names.TORCHVISION_OLD,
        }

    def fits(self) -> dict[str, Any]:
        """Returns, by name of the variable, what makes an array fit that was trained on images of another size."""
        return {"positions": self._fit_positions} if self.learned_positions else {}

    def _fit_positions(self, positions: np.ndarray) -> np.ndarray:
        """Resizes the positions of another square grid; returns what are none as it is."""
        side = math.isqrt(max(math.prod(positions.shape[1:2]) - self.num_prefix, 0))
        if positions.ndim != 3 or side == 0 or positions.shape[1] != self.num_prefix + side**2:
            return positions
        return np.asarray(resize_positions(positions, (side, side), self.grid, self.resizing))

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        self._check()
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


def with_one_head(**fields: Any) -> Classifier:
    """Builds a classifier on a `ViT`, for VARIANTS.

    Raises:
        ValueError: it is to have a distillation token, which the head of `jaxvision.transformer.deit` alone sees.
    """
    if fields.get("distilled"):
        raise ValueError(
            'distilled=True is for pooling="class_token" and a second head, as the deit_*_distilled models have them'
        )
    return classifier(ViT, **fields)


_torchvision = partial(with_one_head, initial=TORCHVISION_INITIAL, resizing="torchvision", head_init=zero_linear)
_timm = partial(with_one_head, patch_size=16, depth=12, head_init=normal_linear)
_simple = partial(
    with_one_head, patch_size=16, depth=12, initial=PAPER_INITIAL, pooling="mean", learned_positions=False,
    head_init=zero_linear,
)  # fmt: skip

VARIANTS = {
    "vit_b_16": partial(_torchvision, patch_size=16, depth=12, dim=768, num_heads=12),
    "vit_b_32": partial(_torchvision, patch_size=32, depth=12, dim=768, num_heads=12),
    "vit_l_16": partial(_torchvision, patch_size=16, depth=24, dim=1024, num_heads=16),
    "vit_l_32": partial(_torchvision, patch_size=32, depth=24, dim=1024, num_heads=16),
    "vit_h_14": partial(_torchvision, patch_size=14, depth=32, dim=1280, num_heads=16),
    "vit_tiny_patch16_224": partial(_timm, dim=192, num_heads=3),
    "vit_small_patch16_224": partial(_timm, dim=384, num_heads=6),
    "vit_tiny_patch4_32": partial(_timm, patch_size=4, dim=192, num_heads=3, image_size=32, num_classes=10),
    "simple_vit_s_16": partial(_simple, dim=384, num_heads=6),
    "simple_vit_b_16": partial(_simple, dim=768, num_heads=12),
}
