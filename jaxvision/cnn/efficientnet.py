"""EfficientNet and EfficientNetV2.

- Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
  https://arxiv.org/abs/1905.11946: B0 to B7.
- The same, "EfficientNetV2: smaller models and faster training", https://arxiv.org/abs/2104.00298: S, M and L.

Defaults are torchvision's. Shapes: B batch, H height, W width, C channels.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv_batch_norm
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import uniform
from jaxvision.layers.regularize import StochasticDepth
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.layers.width import round_width
from jaxvision.ops.materialize import materializer
from jaxvision.ops.pooling import spatial_mean
from jaxvision.weights.names import Line

BlockKind = Literal["mbconv", "fused"]


class Stage(NamedTuple):
    """A row of the papers' tables: blocks of one kind, the first of which has the stride."""

    kind: BlockKind
    expansion: int
    kernel_size: int
    stride: int
    width: int
    depth: int


def efficientnet_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Uniform weights with the bound that PyTorch takes of the inputs taken of the outputs, no bias."""
    del fan_in
    return uniform(fan_out**-0.5), nn.initializers.zeros


class Block(nn.Module):
    """What the blocks share: the fields, and a shortcut where input and output have one shape.

    Attributes:
        width: channels of the output.
        expansion: how many times as wide as its input the block is inside.
        kernel_size, stride: of the convolution that is not 1x1.
        conv_norm, squeeze_excite: constructors of the layers.
        stochastic_depth: constructor of what leaves the residual branch out.
    """

    width: int
    expansion: int
    kernel_size: int
    stride: int
    conv_norm: Callable[..., nn.Module]
    squeeze_excite: Callable[..., nn.Module]
    stochastic_depth: Callable[..., nn.Module]

    def add_shortcut(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Returns the output of the block from its input and that of its layers."""
        return x + self.stochastic_depth()(y) if x.shape == y.shape and self.stride == 1 else y


class MBConv(Block):
    """A 1x1 convolution that widens, a depthwise one, squeeze and excitation, a 1x1 convolution that narrows.

    Squeeze and excitation has inside a quarter of the channels that the block is given, not of those it is inside.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        channels = x.shape[-1]
        inside = channels * self.expansion
        y = self.conv_norm(inside, name="expand")(x) if self.expansion > 1 else x
        y = self.conv_norm(inside, self.kernel_size, self.stride, groups=inside, name="depthwise")(y)
        y = self.squeeze_excite(max(1, channels // 4), name="se")(y)
        y = self.conv_norm(self.width, activation=None, name="project")(y)
        return self.add_shortcut(x, y)


class FusedMBConv(Block):
    """A convolution that widens, and a 1x1 convolution that narrows; without expansion the first alone."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/stride, W/stride, width]
        """Applies the block."""
        inside = x.shape[-1] * self.expansion if self.expansion > 1 else self.width
        y = self.conv_norm(inside, self.kernel_size, self.stride, name="fused")(x)
        if self.expansion > 1:
            y = self.conv_norm(self.width, activation=None, name="project")(y)
        return self.add_shortcut(x, y)


BLOCKS = {"mbconv": MBConv, "fused": FusedMBConv}


class Final(nn.Module):
    """The last 1x1 convolution, the mean of each channel, dropout.

    Attributes:
        width: channels of the convolution.
        dropout_rate: of the means.
        conv_norm: from `train`, the constructor of convolution, normalisation and activation.
    """

    width: int
    dropout_rate: float
    conv_norm: Callable[[bool], Callable[..., nn.Module]]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, width]
        """Applies the three."""
        y = self.conv_norm(train)(self.width, name="conv_norm")(x)
        means = spatial_mean(y)
        return nn.Dropout(self.dropout_rate)(means, deterministic=not train)


class EfficientNet(nn.Module):
    """A 3x3 convolution of stride 2, stages of blocks, a 1x1 convolution before pooling.

    Attributes:
        stages: what they are made of.
        stem_width: channels of the first convolution.
        final_width: channels of the last convolution, and so the number of pooled features.
        dropout_rate: of the pooled features.
        stochastic_depth_rate: that of the blocks grows linearly from 0 at the first; one block more would reach this.
        image_size: height and width of the images of `example_input`; others will do.
        epsilon, momentum: of the normalisations.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    stages: tuple[Stage, ...]
    stem_width: int
    final_width: int
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    image_size: int = 224
    epsilon: float = 1e-5
    momentum: float = 0.9
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers that come after the stages; the others are made in `features`."""
        self.final = Final(self.final_width, self.dropout_rate, self._conv_norm)

    @property
    def _conv_norm(self) -> Callable[[bool], Callable[..., nn.Module]]:
        return partial(
            conv_batch_norm, activation=nn.silu, epsilon=self.epsilon, momentum=self.momentum, dtype=self.dtype
        )

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the last output of each resolution, [B, H/2, W/2, C1], [B, H/4, W/4, C2], ..."""
        check_image(image, self.in_channels)
        if unknown := [stage.kind for stage in self.stages if stage.kind not in BLOCKS]:
            raise ValueError(f"the kind of a stage must be one of {', '.join(get_args(BlockKind))}, got {unknown[0]!r}")
        conv_norm = self._conv_norm(train)
        options = {"activation": nn.silu, "bias_init": nn.initializers.zeros, "dtype": self.dtype}
        layers = {"conv_norm": conv_norm, "squeeze_excite": partial(SqueezeExcite, **options)}
        rates = iter(self.stochastic_depth_rates())
        materialize = materializer(image)
        x, outputs = conv_norm(self.stem_width, 3, 2, name="stem")(image), []
        for i, stage in enumerate(self.stages, start=1):
            block = partial(BLOCKS[stage.kind], stage.width, stage.expansion, stage.kernel_size, **layers)
            for j in range(1, stage.depth + 1):
                drop, stride = partial(StochasticDepth, train, next(rates)), stage.stride if j == 1 else 1
                x = materialize(block(stride=stride, stochastic_depth=drop, name=f"stage{i}_block{j}")(x))
            outputs = [*(outputs if stage.stride > 1 else outputs[:-1]), x]
        return tuple(outputs)

    def stochastic_depth_rates(self) -> list[float]:
        """Returns the rate of each block."""
        count = sum(stage.depth for stage in self.stages)
        return [self.stochastic_depth_rate * index / count for index in range(count)]

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, D]
        """Returns the mean of each channel of the last convolution, with dropout."""
        return self.final(feature_map, train=train)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files."""
        last = len(self.stages) + 1
        torchvision = {
            **_conv_and_norm("stem", "features.0.0", "features.0.1"),
            **_conv_and_norm("final/conv_norm", f"features.{last}.0", f"features.{last}.1"),
            "head": "classifier.1",
        }
        timm = {
            **_conv_and_norm("stem", "conv_stem", "bn1"),
            **_conv_and_norm("final/conv_norm", "conv_head", "bn2"),
            "head": "classifier",
        }
        for i, stage in enumerate(self.stages, start=1):
            torchvision |= _torchvision_names(i, stage)
            timm |= _timm_names(i, stage)
        return {"torchvision": torchvision, "timm": timm}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


def _conv_and_norm(ours: str, conv: str, norm: str) -> dict[str, str]:
    return {f"{ours}/conv": conv, f"{ours}/norm": norm}


def _torchvision_names(i: int, stage: Stage) -> dict[str, Any]:
    layers = ["expand", "depthwise", "se", "project"] if stage.kind == "mbconv" else ["fused", "project"]
    if stage.expansion == 1:
        layers.remove("expand" if stage.kind == "mbconv" else "project")
    names: dict[str, Any] = {}
    for index, layer in enumerate(layers):
        ours, theirs = f"stage{i}_block{{j}}/{layer}", f"features.{i}.{{j-1}}.block.{index}"
        if layer == "se":
            names[f"{ours}/fc{{k}}"] = Line(f"{theirs}.fc{{k}}", transform="dense_as_1x1_conv")
        else:
            names |= _conv_and_norm(ours, f"{theirs}.0", f"{theirs}.1")
    return names


def _timm_names(i: int, stage: Stage) -> dict[str, Any]:
    layers = TIMM[stage.kind, stage.expansion > 1]
    ours, theirs = f"stage{i}_block{{j}}", f"blocks.{i - 1}.{{j-1}}"
    names: dict[str, Any] = {}
    for index, (layer, conv) in enumerate(layers.items(), start=1):
        names |= _conv_and_norm(f"{ours}/{layer}", f"{theirs}.{conv}", f"{theirs}.bn{index}")
    if stage.kind == "mbconv":
        for layer, conv in {"fc1": "conv_reduce", "fc2": "conv_expand"}.items():
            names[f"{ours}/se/{layer}"] = Line(f"{theirs}.se.{conv}", transform="dense_as_1x1_conv")
    return names


TIMM = {  # convolutions of a block, by its kind and whether it expands
    ("mbconv", True): {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"},
    ("mbconv", False): {"depthwise": "conv_dw", "project": "conv_pw"},
    ("fused", True): {"fused": "conv_exp", "project": "conv_pwl"},
    ("fused", False): {"fused": "conv"},
}

B0 = (
    Stage("mbconv", 1, 3, 1, 16, 1),
    Stage("mbconv", 6, 3, 2, 24, 2),
    Stage("mbconv", 6, 5, 2, 40, 2),
    Stage("mbconv", 6, 3, 2, 80, 3),
    Stage("mbconv", 6, 5, 1, 112, 3),
    Stage("mbconv", 6, 5, 2, 192, 4),
    Stage("mbconv", 6, 3, 1, 320, 1),
)

V2_S = (
    Stage("fused", 1, 3, 1, 24, 2),
    Stage("fused", 4, 3, 2, 48, 4),
    Stage("fused", 4, 3, 2, 64, 4),
    Stage("mbconv", 4, 3, 2, 128, 6),
    Stage("mbconv", 6, 3, 1, 160, 9),
    Stage("mbconv", 6, 3, 2, 256, 15),
)

V2_M = (
    Stage("fused", 1, 3, 1, 24, 3),
    Stage("fused", 4, 3, 2, 48, 5),
    Stage("fused", 4, 3, 2, 80, 5),
    Stage("mbconv", 4, 3, 2, 160, 7),
    Stage("mbconv", 6, 3, 1, 176, 14),
    Stage("mbconv", 6, 3, 2, 304, 18),
    Stage("mbconv", 6, 3, 1, 512, 5),
)

V2_L = (
    Stage("fused", 1, 3, 1, 32, 4),
    Stage("fused", 4, 3, 2, 64, 7),
    Stage("fused", 4, 3, 2, 96, 7),
    Stage("mbconv", 4, 3, 2, 192, 10),
    Stage("mbconv", 6, 3, 1, 224, 19),
    Stage("mbconv", 6, 3, 2, 384, 25),
    Stage("mbconv", 6, 3, 1, 640, 7),
)


def scaled(width: float, depth: float) -> dict[str, Any]:
    """Returns the fields of B0 with widths and depths scaled ("compound scaling", section 3.3)."""
    stages = tuple(
        stage._replace(width=round_width(stage.width * width), depth=math.ceil(stage.depth * depth)) for stage in B0
    )
    return {"stages": stages, "stem_width": round_width(32 * width), "final_width": 4 * stages[-1].width}


_efficientnet = partial(classifier, EfficientNet, head_init=efficientnet_linear)
_from_tensorflow = partial(_efficientnet, epsilon=1e-3, momentum=0.99)
_v2 = partial(_efficientnet, final_width=1280, epsilon=1e-3)

VARIANTS = {
    "efficientnet_b0": partial(_efficientnet, **scaled(1.0, 1.0), image_size=224),
    "efficientnet_b1": partial(_efficientnet, **scaled(1.0, 1.1), image_size=240),
    "efficientnet_b2": partial(_efficientnet, **scaled(1.1, 1.2), image_size=288, dropout_rate=0.3),
    "efficientnet_b3": partial(_efficientnet, **scaled(1.2, 1.4), image_size=300, dropout_rate=0.3),
    "efficientnet_b4": partial(_efficientnet, **scaled(1.4, 1.8), image_size=380, dropout_rate=0.4),
    "efficientnet_b5": partial(_from_tensorflow, **scaled(1.6, 2.2), image_size=456, dropout_rate=0.4),
    "efficientnet_b6": partial(_from_tensorflow, **scaled(1.8, 2.6), image_size=528, dropout_rate=0.5),
    "efficientnet_b7": partial(_from_tensorflow, **scaled(2.0, 3.1), image_size=600, dropout_rate=0.5),
    "efficientnet_v2_s": partial(_v2, stages=V2_S, stem_width=24, image_size=384),
    "efficientnet_v2_m": partial(_v2, stages=V2_M, stem_width=24, image_size=480, dropout_rate=0.3),
    "efficientnet_v2_l": partial(_v2, stages=V2_L, stem_width=32, image_size=480, dropout_rate=0.4),
}
