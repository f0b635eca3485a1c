"""Densely connected networks: each layer sees the outputs of all before it in its block.

Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", https://arxiv.org/abs/1608.06993:
DenseNet-BC, with bottlenecks and compression. The networks for ImageNet are as torchvision's. Recomputation is that of
Pleiss et al., "Memory-efficient implementation of DenseNets", https://arxiv.org/abs/1707.06990.

Shapes: B batch, H height, W width, C channels, D dimension.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_in, zero_bias_linear
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.pooling import average_windows, max_pool, spatial_mean

Stem = Literal["imagenet", "cifar"]

BOTTLENECK = 4  # channels of the 1x1 convolution of a layer, as a multiple of the growth rate
COMPRESSION = 2  # of the channels, between blocks


class DenseLayer(nn.Module):
    """Normalisation, ReLU and 1x1 convolution, then the same with a 3x3 convolution.

    Attributes:
        growth_rate: output channels.
        dropout: probability with which an output is dropped.
        train: whether any are.
        conv, norm: constructors of the layers, with type and initial values bound.
    """

    growth_rate: int
    dropout: float
    train: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, parts: tuple[jax.Array, ...]) -> jax.Array:  # [B, H, W, C1], ... -> [B, H, W, growth_rate]
        """Applies the layer to the channels of all parts."""
        x = jnp.concatenate(parts, -1)
        x = self.conv(BOTTLENECK * self.growth_rate, 1, name="conv1")(nn.relu(self.norm(name="norm1")(x)))
        x = self.conv(self.growth_rate, 3, name="conv2")(nn.relu(self.norm(name="norm2")(x)))
        return nn.Dropout(self.dropout, deterministic=not self.train)(x)


class Transition(nn.Module):
    """Halves channels, height and width between two blocks.

    Attributes:
        conv, norm: constructors of the layers, with type and initial values bound.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/2, W/2, C/2]
        """Applies normalisation, ReLU, a 1x1 convolution, and the mean of each window of 2x2 pixels."""
        if min(x.shape[1:3]) < 2:
            raise ValueError(f"maps of 2x2 pixels or more are halved, got {x.shape[1]}x{x.shape[2]}: too small images")
        x = self.conv(x.shape[-1] // COMPRESSION, 1, name="conv")(nn.relu(self.norm(name="norm")(x)))
        return average_windows(x, 2, 2)


class DenseNet(nn.Module):
    """A stem and blocks of dense layers; transitions between them halve the resolution.

    Attributes:
        depths: layers in each block.
        growth_rate: channels that each layer adds.
        stem_width: channels of the first convolution.
        stem: "imagenet" is a 7x7 convolution and max pooling, each of stride 2; "cifar" is a 3x3 convolution.
        dropout: probability with which an output of a layer is dropped in training.
        remat: whether each layer is computed again in the backward pass, so that of what is within it nothing is kept.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    depths: tuple[int, ...]
    growth_rate: int = 32
    stem_width: int = 64
    stem: Stem = "imagenet"
    dropout: float = 0.0
    remat: bool = False
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each block, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ... ("cifar": from [B, H, W, C1])."""
        check_image(image, self.in_channels)
        if self.stem not in get_args(Stem):
            raise ValueError(f"stem must be one of {', '.join(get_args(Stem))}, got {self.stem!r}")
        conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=he_fan_in)
        norm = partial(BatchNorm, train, dtype=self.dtype)
        layer = nn.remat(DenseLayer) if self.remat else DenseLayer
        make_layer = partial(layer, self.growth_rate, self.dropout, train, conv, norm)
        x, stages = self._stem(image, conv, norm), []
        for i, depth in enumerate(self.depths, start=1):
            parts = (x,)
            for j in range(1, depth + 1):
                parts = (*parts, make_layer(name=f"stage{i}_layer{j}")(parts))
            stages.append(jnp.concatenate(parts, -1))
            if i < len(self.depths):
                x = Transition(conv, norm, name=f"transition{i}")(stages[-1])
        stages[-1] = nn.relu(norm(name="norm")(stages[-1]))
        return tuple(stages)

    def _stem(self, image: jax.Array, conv: Callable, norm: Callable) -> jax.Array:
        if self.stem == "cifar":
            return conv(self.stem_width, 3, name="conv1")(image)
        x = nn.relu(norm(name="norm1")(conv(self.stem_width, 7, 2, name="conv1")(image)))
        return max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel."""
        del train
        return spatial_mean(feature_map)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files; torchvision's published ones have the old names."""
        if self.stem == "cifar":
            return {"torch": TORCHVISION}
        old = TORCHVISION | {
            "stage{i}_layer{j}/conv{k}": "features.denseblock{i}.denselayer{j}.conv.{k}",
            "stage{i}_layer{j}/norm{k}": "features.denseblock{i}.denselayer{j}.norm.{k}",
        }
        return {"torchvision": TORCHVISION, "timm": TORCHVISION, "torchvision_old": old}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        size = 32 if self.stem == "cifar" else 224
        return jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)


TORCHVISION = {
    "conv1": "features.conv0",
    "norm1": "features.norm0",
    "stage{i}_layer{j}/conv{k}": "features.denseblock{i}.denselayer{j}.conv{k}",
    "stage{i}_layer{j}/norm{k}": "features.denseblock{i}.denselayer{j}.norm{k}",
    "transition{i}/conv": "features.transition{i}.conv",
    "transition{i}/norm": "features.transition{i}.norm",
    "norm": "features.norm5",
    "head": "classifier",
}

_densenet = partial(classifier, DenseNet, head_init=zero_bias_linear)

VARIANTS = {
    "densenet121": partial(_densenet, depths=(6, 12, 24, 16)),
    "densenet161": partial(_densenet, depths=(6, 12, 36, 24), growth_rate=48, stem_width=96),
    "densenet169": partial(_densenet, depths=(6, 12, 32, 32)),
    "densenet201": partial(_densenet, depths=(6, 12, 48, 32)),
    "densenet_bc100_12": partial(
        _densenet, depths=(16, 16, 16), growth_rate=12, stem_width=24, stem="cifar", num_classes=10
    ),
}
