"""ConvNeXt: Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545.

Defaults are torchvision's. Shapes: B batch, H height, W width, C channels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.regularize import StochasticDepth
from jaxvision.ops.materialize import materializer
from jaxvision.weights.names import Line

# "Truncated normal" in the paper's code and torchvision's: at -2 and 2, a hundred standard deviations from the mean.
draw_kernel = nn.initializers.normal(0.02)


def convnext_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Weights as everywhere in the network, no bias."""
    del fan_in, fan_out
    return draw_kernel, nn.initializers.zeros


class ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, then two layers for each pixel, the inner one four times as wide (figure 4).

    Attributes:
        layer_scale: what each channel of the residual branch is multiplied by at the start.
        conv, dense, norm: constructors of the layers, with type and initial values bound.
        stochastic_depth: constructor of what leaves the residual branch out.
    """

    layer_scale: float
    conv: Callable[..., nn.Module]
    dense: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stochastic_depth: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Applies the block."""
        channels = x.shape[-1]
        y = self.norm(name="norm")(self.conv(channels, 7, feature_group_count=channels, name="depthwise")(x))
        y = nn.gelu(self.dense(4 * channels, name="fc1")(y), approximate=False)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (channels,))
        y = self.dense(channels, name="fc2")(y) * scale.astype(y.dtype)
        return x + self.stochastic_depth()(y)


class ConvNeXt(nn.Module):
    """Patches of 4x4 pixels, and stages of blocks; each stage after the first halves the resolution.

    Attributes:
        depths: blocks in each stage.
        widths: channels of each stage.
        layer_scale: of every block.
        stochastic_depth_rate: of the last block; that of the others grows linearly from 0 at the first.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32, and so are the sums of the normalisations.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    layer_scale: float = 1e-6
    stochastic_depth_rate: float = 0.0
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layer that comes after pooling; the others are made in `features`."""
        self.norm = layer_norm(dtype=self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/4, W/4, C1], [B, H/8, W/8, C2], ..."""
        check_image(image, self.in_channels, at_least=2 ** (len(self.depths) + 1))
        conv = partial(conv2d, dtype=self.dtype, kernel_init=draw_kernel)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=draw_kernel)
        norm = partial(layer_norm, dtype=self.dtype)
        make_block = partial(ConvNeXtBlock, self.layer_scale, conv, dense, norm)
        rates = iter(self.stochastic_depth_rates())
        materialize = materializer(image)
        x = norm(name="stem_norm")(conv(self.widths[0], 4, 4, padding=0, name="stem_conv")(image))
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if i > 1:
                x = norm(name=f"stage{i}_downsample_norm")(x)
                x = conv(width, 2, 2, padding=0, name=f"stage{i}_downsample_conv")(x)
            for j in range(1, depth + 1):
                drop = partial(StochasticDepth, train, next(rates))
                x = materialize(make_block(drop, name=f"stage{i}_block{j}")(x))
            stages.append(x)
        return tuple(stages)

    def stochastic_depth_rates(self) -> list[float]:
        """Returns the rate of each block."""
        last = max(sum(self.depths) - 1, 1)
        return [self.stochastic_depth_rate * index / last for index in range(sum(self.depths))]

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel, normalised."""
        del train
        return self.norm(feature_map.mean((1, 2), dtype=jnp.promote_types(self.dtype, jnp.float32)))

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files."""
        return {"torchvision": TORCHVISION, "timm": TIMM}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


TORCHVISION = {
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "stage{i}_downsample_norm": "features.{2*i-2}.0",
    "stage{i}_downsample_conv": "features.{2*i-2}.1",
    "stage{i}_block{j}/depthwise": "features.{2*i-1}.{j-1}.block.0",
    "stage{i}_block{j}/norm": "features.{2*i-1}.{j-1}.block.2",
    "stage{i}_block{j}/fc1": "features.{2*i-1}.{j-1}.block.3",
    "stage{i}_block{j}/fc2": "features.{2*i-1}.{j-1}.block.5",
    "stage{i}_block{j}/layer_scale": Line("features.{2*i-1}.{j-1}.layer_scale", transform="vector_as_map"),
    "norm": "classifier.0",
    "head": "classifier.2",
}

TIMM = {
    "stem_conv": "stem.0",
    "stem_norm": "stem.1",
    "stage{i}_downsample_norm": "stages.{i-1}.downsample.0",
    "stage{i}_downsample_conv": "stages.{i-1}.downsample.1",
    "stage{i}_block{j}/depthwise": "stages.{i-1}.blocks.{j-1}.conv_dw",
    "stage{i}_block{j}/norm": "stages.{i-1}.blocks.{j-1}.norm",
    "stage{i}_block{j}/fc{k}": "stages.{i-1}.blocks.{j-1}.mlp.fc{k}",
    "stage{i}_block{j}/layer_scale": "stages.{i-1}.blocks.{j-1}.gamma",
    "norm": "head.norm",
    "head": "head.fc",
}

_convnext = partial(classifier, ConvNeXt, head_init=convnext_linear)

VARIANTS = {
    "convnext_tiny": partial(_convnext, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), stochastic_depth_rate=0.1),
    "convnext_small": partial(_convnext, depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), stochastic_depth_rate=0.4),
    "convnext_base": partial(_convnext, depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), stochastic_depth_rate=0.5),
    "convnext_large": partial(_convnext, depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), stochastic_depth_rate=0.5),
}
