"""Residual networks, the plain networks they were compared with, and what was made of them.

- He, Zhang, Ren and Sun, "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385. As in
  torchvision the stride of a bottleneck is on its 3x3 convolution (in the paper it is on the first 1x1).
- The same, "Identity mappings in deep residual networks", https://arxiv.org/abs/1603.05027: as timm's `resnetv2_*`.
- Zagoruyko and Komodakis, "Wide residual networks", https://arxiv.org/abs/1605.07146: torchvision's `wide_resnet*`.
- Xie, Girshick, Dollár, Tu and He, "Aggregated residual transformations for deep neural networks",
  https://arxiv.org/abs/1611.05431: `resnext*`.
- Hu, Shen, Albanie, Sun and Wu, "Squeeze-and-excitation networks", https://arxiv.org/abs/1709.01507: timm's `seresne*`.
- He, Zhang, Zhang, Zhang, Xie and Li, "Bag of tricks for image classification with convolutional neural networks",
  https://arxiv.org/abs/1812.01187: ResNet-D, timm's `resnet*d`.

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
from jaxvision.cnn.resnet_blocks import BasicBlock, Block, Bottleneck, PreActBasicBlock, PreActBottleneck, Shortcut
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_in, he_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import max_pool, spatial_mean
from jaxvision.weights.names import Line

Stem = Literal["imagenet", "deep", "cifar"]


class ResNet(nn.Module):
    """A stem and stages of blocks; each stage after the first halves the resolution.

    Attributes:
        block: the class of the blocks.
        depths: blocks in each stage.
        widths: `width` of the blocks of each stage.
        shortcut: where a block changes the shape; "none" makes the network plain.
        stem: "imagenet" is a 7x7 convolution and max pooling, each of stride 2; "deep" has three 3x3 convolutions in
            place of the one; "cifar" is a 3x3 convolution.
        groups: of the 3x3 convolutions of `Bottleneck`.
        width_per_group: their channels in each group in the first stage, if that has 64 in `widths`.
        squeeze_excite: whether channels are weighted before a block's sum.
        zero_init_last: whether the last normalisation of each residual branch starts with a scale of 0 (section 3.1 of
            "Bag of tricks"), so that every block starts as its shortcut.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    block: type[Block]
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    shortcut: Shortcut = "projection"
    stem: Stem = "imagenet"
    groups: int = 1
    width_per_group: int = 64
    squeeze_excite: bool = False
    zero_init_last: bool = False
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ... ("cifar": from [B, H, W, C1])."""
        check_image(image, self.in_channels)
        self._check_fields()
        kernel_init = he_fan_in if self.stem == "cifar" else he_fan_out
        conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=kernel_init)
        norm = partial(BatchNorm, train, dtype=self.dtype)
        make_block = self._make_block(conv, norm)
        materialize = materializer(image)
        x = self._stem(image, conv, norm)
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for j in range(1, depth + 1):
                stride = 2 if i > 1 and j == 1 else 1
                x = materialize(make_block(width, stride, name=f"stage{i}_block{j}")(x))
            stages.append(x)
        if self.block.preactivation:
            stages[-1] = nn.relu(norm(name="norm")(x))
        return tuple(stages)

    def _check_fields(self) -> None:
        """Raises ValueError where a field has a value unknown, or the blocks have not what the others ask for."""
        for field, kinds in (("stem", get_args(Stem)), ("shortcut", get_args(Shortcut))):
            if getattr(self, field) not in kinds:
                raise ValueError(f"{field} must be one of {', '.join(kinds)}, got {getattr(self, field)!r}")
        name, grouped = self.block.__name__, (self.groups, self.width_per_group) != (1, 64)
        if grouped and not issubclass(self.block, Bottleneck):
            raise ValueError(
                f"groups={self.groups} and width_per_group={self.width_per_group} are for Bottleneck, not for {name}"
            )
        if self.block.preactivation and (self.squeeze_excite or self.zero_init_last or self.stem == "deep"):
            raise ValueError(f'squeeze_excite, zero_init_last and stem="deep" are not for {name}')

    def _make_block(self, conv: Callable, norm: Callable) -> Callable[..., Block]:
        """Returns the constructor of the blocks: what differs between them is left to give."""
        return partial(
            self.block,
            shortcut=self.shortcut,
            conv=conv,
            norm=norm,
            last_norm=partial(norm, scale_init=nn.initializers.zeros) if self.zero_init_last else norm,
            squeeze_excite=partial(SqueezeExcite, dtype=self.dtype) if self.squeeze_excite else None,
            groups=self.groups,
            width_per_group=self.width_per_group,
        )

    def _stem(self, image: jax.Array, conv: Callable, norm: Callable) -> jax.Array:
        width = self.widths[0]
        if self.stem == "cifar":
            x = conv(width, 3, name="conv1")(image)
        elif self.stem == "imagenet":
            x = conv(width, 7, 2, name="conv1")(image)
        else:
            x = nn.relu(norm(name="norm1")(conv(width // 2, 3, 2, name="conv1")(image)))
            x = nn.relu(norm(name="norm2")(conv(width // 2, 3, name="conv2")(x)))
            x = conv(width, 3, name="conv3")(x)
        if not self.block.preactivation:
            x = nn.relu(norm(name="norm3" if self.stem == "deep" else "norm1")(x))
        return x if self.stem == "cifar" else max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel."""
        del train
        return spatial_mean(feature_map)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files.

        The CIFAR networks are named as in https://github.com/akamaster/pytorch_resnet_cifar10.
        """
        if self.block.preactivation:
            return {"timm": TIMM_PREACTIVATION}
        if self.stem == "cifar":
            return {"akamaster": TORCHVISION | {"head": "linear"}}
        timm = TORCHVISION | (TIMM_DEEP_STEM if self.stem == "deep" else {})
        timm |= TIMM_POOLED_SHORTCUT if self.shortcut == "pooled" else {}
        if self.squeeze_excite or timm != TORCHVISION:
            return {"timm": timm | TIMM_SQUEEZE_EXCITE}
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

TIMM_DEEP_STEM = {
    "conv1": "conv1.0",
    "norm1": "conv1.1",
    "conv2": "conv1.3",
    "norm2": "conv1.4",
    "conv3": "conv1.6",
    "norm3": "bn1",
}

TIMM_POOLED_SHORTCUT = {
    "stage{i}_block{j}/downsample_conv": "layer{i}.{j-1}.downsample.1",
    "stage{i}_block{j}/downsample_norm": "layer{i}.{j-1}.downsample.2",
}

TIMM_SQUEEZE_EXCITE = {
    "stage{i}_block{j}/se/fc{k}": Line("layer{i}.{j-1}.se.fc{k}", transform="dense_as_1x1_conv"),
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
_timm = partial(_imagenet, zero_init_last=True)  # which timm does where torchvision does not
_deep = partial(_timm, stem="deep", shortcut="pooled")
_cifar = partial(classifier, ResNet, widths=(16, 32, 64), shortcut="pad", stem="cifar", num_classes=10)

R18 = {"block": BasicBlock, "depths": (2, 2, 2, 2)}
R34 = {"block": BasicBlock, "depths": (3, 4, 6, 3)}
R26 = {"block": Bottleneck, "depths": (2, 2, 2, 2)}
R50 = {"block": Bottleneck, "depths": (3, 4, 6, 3)}
R101 = {"block": Bottleneck, "depths": (3, 4, 23, 3)}
R152 = {"block": Bottleneck, "depths": (3, 8, 36, 3)}
SIZES = {18: R18, 34: R34, 50: R50, 101: R101, 152: R152}


def _grouped(groups: int, width: int) -> dict[str, int]:
    return {"groups": groups, "width_per_group": width}


def _preactivation(size: dict[str, Any]) -> dict[str, Any]:
    return size | {"block": PreActBasicBlock if size["block"] is BasicBlock else PreActBottleneck}


def _cifar_depths(layers: int) -> tuple[int, int, int]:
    """A CIFAR network of 6 n + 2 layers has three stages of n blocks."""
    return ((layers - 2) // 6,) * 3


VARIANTS = {
    **{f"resnet{n}": partial(_imagenet, **size) for n, size in SIZES.items()},
    "plain18": partial(_imagenet, **R18, shortcut="none"),
    "plain34": partial(_imagenet, **R34, shortcut="none"),
    "wide_resnet50_2": partial(_imagenet, **R50, width_per_group=128),
    "wide_resnet101_2": partial(_imagenet, **R101, width_per_group=128),
    "resnext50_32x4d": partial(_imagenet, **R50, **_grouped(32, 4)),
    "resnext101_32x8d": partial(_imagenet, **R101, **_grouped(32, 8)),
    "resnext101_64x4d": partial(_imagenet, **R101, **_grouped(64, 4)),
    **{f"seresnet{n}": partial(_timm, **size, squeeze_excite=True) for n, size in SIZES.items()},
    "seresnext50_32x4d": partial(_timm, **R50, **_grouped(32, 4), squeeze_excite=True),
    "seresnext101_32x4d": partial(_timm, **R101, **_grouped(32, 4), squeeze_excite=True),
    "seresnext26d_32x4d": partial(_deep, **R26, **_grouped(32, 4), squeeze_excite=True),
    **{f"resnet{n}d": partial(_deep, **size) for n, size in SIZES.items()},
    **{f"resnetv2_{n}": partial(_imagenet, **_preactivation(size)) for n, size in SIZES.items()},
    **{f"resnet{n}": partial(_cifar, block=BasicBlock, depths=_cifar_depths(n)) for n in (8, 20, 32, 44, 56, 110)},
    **{f"plain{n}": partial(_cifar, block=BasicBlock, depths=_cifar_depths(n), shortcut="none") for n in (8, 20, 56)},
    **{f"preact_resnet{n}": partial(_cifar, block=PreActBasicBlock, depths=_cifar_depths(n)) for n in (20, 56, 110)},
}
