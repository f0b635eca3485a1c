"""Vision Transformers: an image as a sequence of patches.

Dosovitskiy et al., "An image is worth 16x16 words", https://arxiv.org/abs/2010.11929 (ViT); Touvron et al., "Training
data-efficient image transformers & distillation through attention", https://arxiv.org/abs/2012.12877 (DeiT); Beyer,
Zhai and Kolesnikov, "Better plain ViT baselines for ImageNet-1k", https://arxiv.org/abs/2205.01580 (SimpleViT).
Defaults are torchvision's of vit_b_16 and the like, and timm's of the others. Shapes: B batch, H height, W width,
C channels; h and w of the grid of patches, P tokens before theirs, N = P + h w tokens, D dimension, K classes.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import Initializer, lecun_normal, normal, variance_scaling, xavier_uniform, zeros
from jax.typing import DTypeLike

from jaxvision.classifier import Classifier, classifier
from jaxvision.layers.attention import Implementation, MultiHeadAttention
from jaxvision.layers.embedding import PatchEmbedding, Resizing, resize_positions, sine_cosine_2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import LinearInit, torch_linear
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.transformer import EncoderBlock, Mlp
from jaxvision.ops.materialize import materializer
from jaxvision.weights.names import Line


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
        distilled: whether a token that learns from a teacher follows the class token (see `Distilled`).
        learned_positions: whether they are parameters, or those of sines and cosines.
        resizing: whose interpolation resizes positions, see `jaxvision.layers.embedding.resize_positions`.
        dropout_rate: share of the tokens' activations dropped in training: with positions added, and in each block
            after attention and after both layers of the perceptron.
        attention_dropout_rate: share of the weights of attention dropped in training.
        stochastic_depth_rate: of the last block; that of the others grows linearly from 0 at the first.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
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
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size must be a multiple of the patches' {self.patch_size} pixels, got {self.image_size}"
            )

    def _block(self, stochastic_depth_rate: float) -> EncoderBlock:
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
        return EncoderBlock(attention, mlp, norm, self.dropout_rate, stochastic_depth_rate)

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

    def _run(self, number: int, tokens: jax.Array, train: bool) -> jax.Array:
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
        """Returns the class token, or the mean of the patches' tokens, normalised; of both first tokens [B, 2, D]."""
        del train
        if self.pooling == "mean":
            wide = jnp.promote_types(self.dtype, jnp.float32)
            return self.norm(tokens).mean(1, dtype=wide).astype(tokens.dtype)
        return self.norm(tokens[:, : self.num_prefix] if self.distilled else tokens[:, 0])

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in the files of torchvision, old ones as published, of timm and of transformers."""
        if self.distilled:
            return {"timm": TIMM_DISTILLED, "transformers": TRANSFORMERS_DISTILLED}
        if self.pooling == "mean":
            return {"timm": TIMM}
        old = TORCHVISION | {"block{i}/mlp/linear{k}": "encoder.layers.encoder_layer_{i-1}.mlp.linear_{k}"}
        return {"torchvision": TORCHVISION, "timm": TIMM, "transformers": TRANSFORMERS, "torchvision_old": old}

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
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


class Distilled(Classifier):
    """A head for the class token and one for the distillation token, whose logits are averaged.

    In training both are sown, [B, 2, K], as `logits` in the collection "heads", for those who name it as mutable: the
    paper's loss compares the first with the label and the second with what a teacher predicts (equation 3).
    """

    def logits(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [B, N, D] -> [B, K]
        """Returns the mean of the logits, or of the two tokens [B, D] where `num_classes` is 0."""
        logits = self.linear(self.backbone.pool(tokens, train=train))  # [B, 2, K]
        if train:
            self.sow("heads", "logits", logits)
        return logits.mean(1)

    @nn.compact
    def linear(self, pooled: jax.Array) -> jax.Array:  # [..., 2, D] -> [..., 2, K]
        """Applies to each token its linear layer, if there are any."""
        if self.num_classes == 0:
            return pooled
        inits = self.head_init(pooled.shape[-1], self.num_classes)
        return TwoHeads(self.num_classes, *inits, self.dtype, name="head")(pooled)


class TwoHeads(nn.Module):
    """A linear layer for each of two tokens; their weights stand side by side.

    Attributes:
        num_classes: K.
        kernel_init, bias_init: draw weights and biases.
        dtype: of the computation.
    """

    num_classes: int
    kernel_init: Initializer
    bias_init: Initializer
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:  # [..., 2, D] -> [..., 2, K]
        """Applies the two."""
        kernel = self.param("kernel", self.kernel_init, (tokens.shape[-1], 2 * self.num_classes))
        bias = self.param("bias", self.bias_init, (2 * self.num_classes,))
        tokens, kernel, bias = promote_dtype(tokens, kernel, bias, dtype=self.dtype)
        parts = zip(jnp.split(kernel, 2, -1), jnp.split(bias, 2), strict=True)
        return jnp.stack([tokens[..., n, :] @ kernel + bias for n, (kernel, bias) in enumerate(parts)], -2)


TORCHVISION = {
    "class_token": Line("class_token", transform="vector_as_token"),
    "positions": "encoder.pos_embedding",
    "patch_embedding": "conv_proj",
    "block{i}/norm{k}": "encoder.layers.encoder_layer_{i-1}.ln_{k}",
    "block{i}/attention/qkv": "encoder.layers.encoder_layer_{i-1}.self_attention.in_proj_{leaf}",
    "block{i}/attention/projection": "encoder.layers.encoder_layer_{i-1}.self_attention.out_proj",
    "block{i}/mlp/linear{k}": "encoder.layers.encoder_layer_{i-1}.mlp.{3*k-3}",
    "norm": "encoder.ln",
    "head": "heads.head",
}

TIMM = {
    "class_token": Line("cls_token", transform="vector_as_token"),
    "positions": "pos_embed",
    "patch_embedding": "patch_embed.proj",
    "block{i}/norm{k}": "blocks.{i-1}.norm{k}",
    "block{i}/attention/qkv": "blocks.{i-1}.attn.qkv",
    "block{i}/attention/projection": "blocks.{i-1}.attn.proj",
    "block{i}/mlp/linear{k}": "blocks.{i-1}.mlp.fc{k}",
    "norm": "norm",
    "head": "head",
}

TIMM_DISTILLED = TIMM | {
    "distillation_token": Line("dist_token", transform="vector_as_token"),
    "head": ("head", "head_dist"),
}


def _transformers(prefix: str) -> dict[str, Any]:
    block = f"{prefix}.encoder.layer.{{i-1}}"
    projections = tuple(f"{block}.attention.attention.{part}" for part in ("query", "key", "value"))
    return {
        "class_token": Line(f"{prefix}.embeddings.cls_token", transform="vector_as_token"),
        "positions": f"{prefix}.embeddings.position_embeddings",
        "patch_embedding": f"{prefix}.embeddings.patch_embeddings.projection",
        "block{i}/norm1": f"{block}.layernorm_before",
        "block{i}/norm2": f"{block}.layernorm_after",
        "block{i}/attention/qkv": projections,
        "block{i}/attention/projection": f"{block}.attention.output.dense",
        "block{i}/mlp/linear1": f"{block}.intermediate.dense",
        "block{i}/mlp/linear2": f"{block}.output.dense",
        "norm": f"{prefix}.layernorm",
        "head": "classifier",
    }


TRANSFORMERS = _transformers("vit")

TRANSFORMERS_DISTILLED = _transformers("deit") | {
    "distillation_token": Line("deit.embeddings.distillation_token", transform="vector_as_token"),
    "head": ("cls_classifier", "distillation_classifier"),
}

_torchvision = partial(classifier, ViT, initial=TORCHVISION_INITIAL, resizing="torchvision", head_init=zero_linear)
_timm = partial(classifier, ViT, patch_size=16, depth=12, head_init=normal_linear)
_simple = partial(
    classifier, ViT, patch_size=16, depth=12, initial=PAPER_INITIAL, pooling="mean", learned_positions=False,
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
    "deit_tiny_patch16_224": partial(_timm, dim=192, num_heads=3),
    "deit_small_patch16_224": partial(_timm, dim=384, num_heads=6),
    "deit_base_patch16_224": partial(_timm, dim=768, num_heads=12),
    "deit_tiny_distilled_patch16_224": partial(_timm, dim=192, num_heads=3, distilled=True, kind=Distilled),
    "deit_small_distilled_patch16_224": partial(_timm, dim=384, num_heads=6, distilled=True, kind=Distilled),
    "deit_base_distilled_patch16_224": partial(_timm, dim=768, num_heads=12, distilled=True, kind=Distilled),
    "simple_vit_s_16": partial(_simple, dim=384, num_heads=6),
    "simple_vit_b_16": partial(_simple, dim=768, num_heads=12),
}
