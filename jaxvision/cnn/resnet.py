"""Residual networks, the plain networks they were compared with, and their pre-activation form.

- He, Zhang, Ren and Sun, "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385. As in
  torchvision the stride of a bottleneck is on its 3x3 convolution (in the paper it is on the first 1x1).
- The same, "Identity mappings in deep residual networks", https://arxiv.org/abs/1603.05027: as timm's `resnetv2_*`.

Shapes: B batch, H height, W width, C channels, D dimension.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_in, he_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.weights.names import Line

Shortcut = Literal["projection", "pad", "none"]


def pad_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:  # [B, H, W, C] -> [B, H/s, W/s, features]
    """The parameter-free shortcut of the CIFAR networks: every `stride`-th pixel, new channels zero (option A)."""
    extra = features - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


class Block(nn.Module):
    """What the blocks share: the fields, and the shortcut where input and output differ in shape.

    Attributes:
        width: channels of the 3x3 convolutions.
        stride: of the first 3x3 convolution and of the shortcut.
        shortcut: a 1x1 convolution ("projection"), zero padding ("pad"), or no shortcut at all ("none").
        conv, norm: constructors of the layers, with type and initial values bound.
    """

    width: int
    stride: int
    shortcut: Shortcut
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    expansion: ClassVar[int] = 1
    preactivation: ClassVar[bool] = False

    def add_shortcut(self, x: jax.Array, residual: jax.Array, projected: jax.Array | None = None) -> jax.Array:
        """Returns `residual` plus the shortcut from `x`; a projection starts from `projected` where that is given."""
        if self.shortcut == "none":
            return residual
        features = residual.shape[-1]
        if self.stride == 1 and x.shape[-1] == features:
            return x + residual
        if self.shortcut == "pad":
            return pad_shortcut(x, features, self.stride) + residual
        if self.preactivation:
            return self.conv(features, 1, self.stride, name="downsample_conv")(projected) + residual
        x = self.conv(features, 1, self.stride, name="downsample_conv")(x)
        return self.norm(name="downsample_norm")(x) + residual


class BasicBlock(Block):
    """Two 3x3 convolutions (figure 5, left)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        y = nn.relu(self.norm(name="norm1")(self.conv(self.width, 3, self.stride, name="conv1")(x)))
        y = self.norm(name="norm2")(self.conv(self.width, 3, name="conv2")(y))
        return nn.relu(self.add_shortcut(x, y))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels (figure 5, right)."""

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, 4 width]
        """Applies the block."""
        y = nn.relu(self.norm(name="norm1")(self.conv(self.width, 1, name="conv1")(x)))
        y = nn.relu(self.norm(name="norm2")(self.conv(self.width, 3, self.stride, name="conv2")(y)))
        y = self.norm(name="norm3")(self.conv(self.width * self.expansion, 1, name="conv3")(y))
        return nn.relu(self.add_shortcut(x, y))


class PreActBasicBlock(Block):
    """Two 3x3 convolutions, each after normalisation and ReLU."""

    preactivation: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        active = nn.relu(self.norm(name="norm1")(x))
        y = self.conv(self.width, 3, self.stride, name="conv1")(active)
        y = self.conv(self.width, 3, name="conv2")(nn.relu(self.norm(name="norm2")(y)))
        return self.add_shortcut(x, y, projected=active)


class PreActBottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, each after normalisation and ReLU."""

    expansion: ClassVar[int] = 4
    preactivation: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, 4 width]
        """Applies the block."""
        active = nn.relu(self.norm(name="norm1")(x))
        y = self.conv(self.width, 1, name="conv1")(active)
        y = self.conv(self.width, 3, self.stride, name="conv2")(nn.relu(self.norm(name="norm2")(y)))
        y = self.conv(self.width * self.expansion, 1, name="conv3")(nn.relu(self.norm(name="norm3")(y)))
        return self.add_shortcut(x, y, projected=active)


class ResNet(nn.Module):
    """A stem and stages of blocks; each stage after the first halves the resolution.

    Attributes:
        block: the class of the blocks.
        depths: blocks in each stage.
        widths: `width` of the blocks of each stage.
        shortcut: where a block changes the shape; "none" makes the network plain.
        stem: "imagenet" is a 7x7 convolution and max pooling, each of stride 2; "cifar" a 3x3 convolution.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    block: type[Block]
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    shortcut: Shortcut = "projection"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ... ("cifar": from [B, H, W, C1])."""
        check_image(image, self.in_channels)
        kernel_init = he_fan_out if self.stem == "imagenet" else he_fan_in
        conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=kernel_init)
        norm = partial(BatchNorm, train, dtype=self.dtype)
        x = self._stem(image, conv, norm)
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for j in range(1, depth + 1):
                stride = 2 if i > 1 and j == 1 else 1
                x = self.block(width, stride, self.shortcut, conv, norm, name=f"stage{i}_block{j}")(x)
            stages.append(x)
        if self.block.preactivation:
            stages[-1] = nn.relu(norm(name="norm")(x))
        return tuple(stages)

    def _stem(self, image: jax.Array, conv: Callable, norm: Callable) -> jax.Array:
        if self.stem == "cifar":
            x = conv(self.widths[0], 3, name="conv1")(image)
        else:
            x = conv(self.widths[0], 7, 2, name="conv1")(image)
        if not self.block.preactivation:
            x = nn.relu(norm(name="norm1")(x))
        return x if self.stem == "cifar" else nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel."""
        del train
        return feature_map.mean((1, 2), dtype=jnp.promote_types(self.dtype, jnp.float32)).astype(self.dtype)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files.

        The CIFAR networks are named as in https://github.com/akamaster/pytorch_resnet_cifar10.
        """
        if self.block.preactivation:
            return {"timm": TIMM_PREACTIVATION}
        if self.stem == "cifar":
            return {"akamaster": TORCHVISION | {"head": "linear"}}
        return {"torchvision": TORCHVISION, "timm": TORCHVISION}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        size = 32 if self.stem == "cifar" else 224
        return jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)


TORCHVISION = {
    "conv1": "conv1",
    "norm1": "bn1",
    "stage{i}_block{j}/conv{k}": "layer{i}.{j-1}.conv{k}",
    "stage{i}_block{j}/norm{k}": "layer{i}.{j-1}.bn{k}",
    "stage{i}_block{j}/downsample_conv": "layer{i}.{j-1}.downsample.0",
    "stage{i}_block{j}/downsample_norm": "layer{i}.{j-1}.downsample.1",
    "head": "fc",
}

TIMM_PREACTIVATION = {
    "conv1": "stem.conv",
    "stage{i}_block{j}/conv{k}": "stages.{i-1}.blocks.{j-1}.conv{k}",
    "stage{i}_block{j}/norm{k}": "stages.{i-1}.blocks.{j-1}.norm{k}",
    "stage{i}_block{j}/downsample_conv": "stages.{i-1}.blocks.{j-1}.downsample.conv",
    "norm": "norm",
    "head": Line("head.fc", transform="dense_as_1x1_conv"),
}

_imagenet = partial(classifier, ResNet)
_cifar = partial(classifier, ResNet, widths=(16, 32, 64), shortcut="pad", stem="cifar", num_classes=10)


def _cifar_depths(layers: int) -> tuple[int, int, int]:
    """A CIFAR network of 6 n + 2 layers has three stages of n blocks."""
    return ((layers - 2) // 6,) * 3


VARIANTS = {
    "resnet18": partial(_imagenet, block=BasicBlock, depths=(2, 2, 2, 2)),
    "resnet34": partial(_imagenet, block=BasicBlock, depths=(3, 4, 6, 3)),
    "resnet50": partial(_imagenet, block=Bottleneck, depths=(3, 4, 6, 3)),
    "resnet101": partial(_imagenet, block=Bottleneck, depths=(3, 4, 23, 3)),
    "resnet152": partial(_imagenet, block=Bottleneck, depths=(3, 8, 36, 3)),
    "plain18": partial(_imagenet, block=BasicBlock, depths=(2, 2, 2, 2), shortcut="none"),
    "plain34": partial(_imagenet, block=BasicBlock, depths=(3, 4, 6, 3), shortcut="none"),
    "resnetv2_18": partial(_imagenet, block=PreActBasicBlock, depths=(2, 2, 2, 2)),
    "resnetv2_34": partial(_imagenet, block=PreActBasicBlock, depths=(3, 4, 6, 3)),
    "resnetv2_50": partial(_imagenet, block=PreActBottleneck, depths=(3, 4, 6, 3)),
    "resnetv2_101": partial(_imagenet, block=PreActBottleneck, depths=(3, 4, 23, 3)),
    "resnetv2_152": partial(_imagenet, block=PreActBottleneck, depths=(3, 8, 36, 3)),
    **{f"resnet{n}": partial(_cifar, block=BasicBlock, depths=_cifar_depths(n)) for n in (8, 20, 32, 44, 56, 110)},
    **{f"plain{n}": partial(_cifar, block=BasicBlock, depths=_cifar_depths(n), shortcut="none") for n in (8, 20, 56)},
    **{f"preact_resnet{n}": partial(_cifar, block=PreActBasicBlock, depths=_cifar_depths(n)) for n in (20, 56, 110)},
}
