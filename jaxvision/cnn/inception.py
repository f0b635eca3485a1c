"""Inception v3: blocks of parallel convolutions whose large kernels are factorised into smaller ones.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception architecture for computer vision",
https://arxiv.org/abs/1512.00567. As torchvision's, whose blocks are called A to E here too.

Shapes: B batch, H height, W width, C channels, D dimension, K classes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, normal
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import ConvNorm, Size, conv2d
from jaxvision.layers.image import check_image, renormalize
from jaxvision.layers.initializers import uniform
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.pooling import average_windows, max_pool, pool_to_size, spatial_mean
from jaxvision.weights.names import Line

SMALLEST = 75  # pixels: what is then 1x1 in the last stage

Blocks = tuple[tuple[str, type["Block"], int], ...]


def subsample(x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, (H - 1)/2, (W - 1)/2, C]
    """The maximum of each window of 3x3 pixels, two pixels apart."""
    return max_pool(x, (3, 3), (2, 2))


class Block(nn.Module):
    """What the blocks share.

    Attributes:
        width: channels where blocks of one kind differ: of the branch after pooling in A, of the 7x7 convolutions in C.
        layer: constructor of a convolution, its normalisation and ReLU.
    """

    width: int
    layer: Callable[..., nn.Module]

    def branch(self, x: jax.Array, name: str, *convolutions: Sequence[Any]) -> jax.Array:
        """Applies convolutions, each given by its channels, its kernel and further arguments, one after the other."""
        for i, convolution in enumerate(convolutions, start=1):
            x = self.layer(*convolution, name=f"branch{name}_{i}")(x)
        return x

    def single(self, x: jax.Array, name: str, features: int, kernel_size: Size = 1, **fields: Any) -> jax.Array:
        """Applies a branch of one convolution."""
        return self.layer(features, kernel_size, name=f"branch{name}", **fields)(x)

    def pooled(self, x: jax.Array, features: int) -> jax.Array:
        """Applies the branch that averages over 3x3 pixels before a 1x1 convolution."""
        return self.single(average_windows(x, 3, padding=1), "_pool", features)


class InceptionA(Block):
    """1x1, 5x5 and two 3x3 convolutions (figure 5, but for the 5x5)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C']
        """Applies the block."""
        branches = [
            self.single(x, "1x1", 64),
            self.branch(x, "5x5", (48, 1), (64, 5)),
            self.branch(x, "3x3dbl", (64, 1), (96, 3), (96, 3)),
            self.pooled(x, self.width),
        ]
        return jnp.concatenate(branches, -1)


class InceptionB(Block):
    """Halves the resolution by 3x3 convolutions and maxima (figure 10)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, (H - 1)/2, (W - 1)/2, C']
        """Applies the block."""
        branches = [
            self.single(x, "3x3", 384, 3, stride=2, padding=0),
            self.branch(x, "3x3dbl", (64, 1), (96, 3), (96, 3, 2, 0)),
            subsample(x),
        ]
        return jnp.concatenate(branches, -1)


class InceptionC(Block):
    """7x7 convolutions, one and two, as 1x7 and 7x1 (figure 6)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, 768]
        """Applies the block."""
        row, column, c = (1, 7), (7, 1), self.width
        branches = [
            self.single(x, "1x1", 192),
            self.branch(x, "7x7", (c, 1), (c, row), (192, column)),
            self.branch(x, "7x7dbl", (c, 1), (c, column), (c, row), (c, column), (192, row)),
            self.pooled(x, 192),
        ]
        return jnp.concatenate(branches, -1)


class InceptionD(Block):
    """Halves the resolution, a 7x7 convolution before one of the 3x3."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, (H - 1)/2, (W - 1)/2, C']
        """Applies the block."""
        branches = [
            self.branch(x, "3x3", (192, 1), (320, 3, 2, 0)),
            self.branch(x, "7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, 0)),
            subsample(x),
        ]
        return jnp.concatenate(branches, -1)


class InceptionE(Block):
    """3x3 convolutions as 1x3 and 3x1 beside each other (figure 7)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, 2048]
        """Applies the block."""
        once = self.branch(x, "3x3", (384, 1))
        twice = self.branch(x, "3x3dbl", (448, 1), (384, 3))
        branches = [
            self.single(x, "1x1", 320),
            *(self.single(once, f"3x3_{end}", 384, kernel) for end, kernel in (("2a", (1, 3)), ("2b", (3, 1)))),
            *(self.single(twice, f"3x3dbl_{end}", 384, kernel) for end, kernel in (("3a", (1, 3)), ("3b", (3, 1)))),
            self.pooled(x, 192),
        ]
        return jnp.concatenate(branches, -1)


class AuxiliaryHead(nn.Module):
    """Logits from the map before the last stage (figure 8).

    Attributes:
        num_classes: of the logits.
        layer: constructor of a convolution, its normalisation and ReLU.
        dtype: of the computation; parameters are float32.
    """

    num_classes: int
    layer: Callable[..., nn.Module]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, K]
        """Returns the logits. Maps below 17x17, which torchvision refuses, are averaged in the same proportions."""
        x = average_windows(x, 5, 3) if min(x.shape[1:3]) >= 17 else pool_to_size(x, 5, 5, 3)
        x = self.layer(768, 5, padding=0, name="conv2")(self.layer(128, name="conv1")(x))
        means = spatial_mean(x)
        kernel_init, bias_init = linear(0.001, 768)
        fields = {"dtype": self.dtype, "kernel_init": kernel_init, "bias_init": bias_init}
        return nn.Dense(self.num_classes, name="head", **fields)(means)


STAGES: tuple[Blocks, ...] = (
    (("5b", InceptionA, 32), ("5c", InceptionA, 64), ("5d", InceptionA, 64)),
    (
        ("6a", InceptionB, 0),
        ("6b", InceptionC, 128),
        ("6c", InceptionC, 160),
        ("6d", InceptionC, 160),
        ("6e", InceptionC, 192),
    ),
    (("7a", InceptionD, 0), ("7b", InceptionE, 0), ("7c", InceptionE, 0)),
)


class InceptionV3(nn.Module):
    """A stem and three stages of blocks.

    Attributes:
        stages: name, class and `width` of the blocks of each stage.
        num_classes: of the auxiliary head, which follows the second stage; 0 leaves it out.
        aux_logits: whether there is an auxiliary head, whose logits are sown in training, in the collection
            "auxiliary".
        transform_input: whether images, normalised with the means and deviations of ImageNet, are normalised anew with
            means and deviations of 0.5, as those were with which torchvision's weights were trained.
        dropout: probability with which a pooled feature is dropped in training.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    stages: tuple[Blocks, ...] = STAGES
    num_classes: int = 1000
    aux_logits: bool = True
    transform_input: bool = False
    dropout: float = 0.5
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes what `pool` needs."""
        self.drop = nn.Dropout(self.dropout)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the maps before each halving, of about a half of H and W, a quarter, ..., a thirty-second."""
        check_image(image, self.in_channels)
        if min(image.shape[1:3]) < SMALLEST:
            raise ValueError(
                f"the model takes images of {SMALLEST}x{SMALLEST} pixels or more, got {image.shape[1]}x{image.shape[2]}"
            )
        conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=normal(0.1))
        layer = partial(ConvNorm, conv=conv, norm=partial(BatchNorm, train, epsilon=1e-3, dtype=self.dtype))
        stages = self._stem(renormalize(image) if self.transform_input else image, layer)
        x = subsample(stages[-1])
        for blocks in self.stages:
            for name, block, width in blocks:
                x = block(width, layer, name=f"mixed_{name}")(x)
            stages.append(x)
        if self.aux_logits and self.num_classes and (train or self.is_initializing()):
            logits = AuxiliaryHead(self.num_classes, layer, self.dtype, name="aux")(stages[-2])
            if not self.is_initializing():
                self.sow("auxiliary", "aux_logits", logits)
        return tuple(stages)

    def _stem(self, x: jax.Array, layer: Callable[..., nn.Module]) -> list[jax.Array]:
        """Returns the maps of the first two resolutions."""
        x = layer(32, 3, 2, 0, name="conv_1a_3x3")(x)
        x = layer(32, 3, padding=0, name="conv_2a_3x3")(x)
        half = layer(64, 3, name="conv_2b_3x3")(x)
        x = layer(80, name="conv_3b_1x1")(subsample(half))
        return [half, layer(192, 3, padding=0, name="conv_4a_3x3")(x)]

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel; in training some are dropped."""
        means = spatial_mean(feature_map)
        return self.drop(means, deterministic=not train)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files; timm's have no auxiliary head."""
        return {"torchvision": TORCHVISION, "timm": TORCHVISION}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 299, 299, self.in_channels), jnp.float32)


def linear(deviation: float, fan_in: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights, of that standard deviation, and bias of a linear layer as torchvision does.

    Torchvision cuts the normal distribution at -2 and 2, which here is never reached.
    """
    return normal(deviation), uniform(fan_in**-0.5)


def head_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights and bias of the head."""
    del fan_out
    return linear(0.1, fan_in)


TORCHVISION = {
    "conv_{i}_{size}/conv": "Conv2d_{i}_{size}.conv",
    "conv_{i}_{size}/norm": "Conv2d_{i}_{size}.bn",
    "mixed_{i}/{branch}/conv": "Mixed_{i}.{branch}.conv",
    "mixed_{i}/{branch}/norm": "Mixed_{i}.{branch}.bn",
    "mixed_{i}/{branch}_{k}/conv": "Mixed_{i}.{branch}_{k}.conv",
    "mixed_{i}/{branch}_{k}/norm": "Mixed_{i}.{branch}_{k}.bn",
    "aux/conv{k}/conv": Line("AuxLogits.conv{k-1}.conv", optional=("AuxLogits.",)),
    "aux/conv{k}/norm": Line("AuxLogits.conv{k-1}.bn", optional=("AuxLogits.",)),
    "aux/head": Line("AuxLogits.fc", optional=("AuxLogits.",)),
    "head": "fc",
}

VARIANTS = {
    "inception_v3": partial(classifier, InceptionV3, auxiliary_weight=0.4, head_init=head_linear),
}
