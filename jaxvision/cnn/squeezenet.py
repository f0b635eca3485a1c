"""SqueezeNet: Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer, 2016, https://arxiv.org/abs/1602.07360.

There is no fully connected layer: the last 1x1 convolution gives a map for each class, and the mean of its ReLU is the
logit. `squeezenet1_1` pools earlier and needs 2.4 times less computation:
https://github.com/forresti/SqueezeNet/tree/master/SqueezeNet_v1.1. Defaults are torchvision's.

Shapes: B batch, H height, W width, C channels, K classes.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import variance_scaling
from jax.typing import DTypeLike

from jaxvision.classifier import ClassMaps, classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import small_normal_linear
from jaxvision.ops.pooling import ceil_padding, max_pool, spatial_mean
from jaxvision.weights.names import Line

he_uniform = variance_scaling(2.0, "fan_in", "uniform")


class FireWidths(NamedTuple):
    """Channels of the convolution that squeezes, and of each of the two that expand."""

    squeeze: int
    expand: int


class Fire(nn.Module):
    """A 1x1 convolution that narrows, then one of 1x1 and one of 3x3 pixels side by side (figure 1).

    Attributes:
        widths: of the convolutions.
        dtype: of the computation; parameters are float32.
    """

    widths: FireWidths
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, 2 expand]
        """Applies the module."""
        conv = partial(conv2d, dtype=self.dtype, kernel_init=he_uniform)
        squeezed = nn.relu(conv(self.widths.squeeze, 1, name="squeeze")(x))
        expanded = [conv(self.widths.expand, size, name=f"expand{size}x{size}")(squeezed) for size in (1, 3)]
        return nn.relu(jnp.concatenate(expanded, -1))


class SqueezeNet(nn.Module):
    """A convolution of stride 2, and stages of Fire modules, each after a max pooling that halves the resolution.

    Attributes:
        stages: widths of the modules of each stage.
        stem_width, stem_kernel_size: of the convolution.
        dropout_rate: of the feature map before the head.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    stages: tuple[tuple[FireWidths, ...], ...]
    stem_width: int
    stem_kernel_size: int
    dropout_rate: float = 0.5
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes what comes after the stages; the others are made in `features`."""
        self.dropout = nn.Dropout(self.dropout_rate)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of the convolution, [B, H/2, W/2, C1], and of each stage, [B, H/4, W/4, C2], ..."""
        del train
        check_image(image, self.in_channels, at_least=self._smallest())
        conv = partial(conv2d, self.stem_width, self.stem_kernel_size, 2, padding=0, kernel_init=he_uniform)
        x = nn.relu(conv(dtype=self.dtype, name="conv1")(image))
        outputs, number = [x], 1
        for stage in self.stages:
            x = max_pool(x, (3, 3), (2, 2), ceil_padding(x.shape[1:3], 3, 2))
            for widths in stage:
                number += 1
                x = Fire(widths, self.dtype, name=f"fire{number}")(x)
            outputs.append(x)
        return tuple(outputs)

    def _smallest(self) -> int:
        """Each pooling halves the map, rounding down, and needs two pixels: 2 before the last, 4, 8 and so on."""
        return 2 * (2 ** len(self.stages) - 1) + self.stem_kernel_size

    def drop(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Returns the feature map as the head is given it: with dropout."""
        return self.dropout(feature_map, deterministic=not train)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel: features to be used, of which the network's own logits are no function."""
        del train
        return spatial_mean(feature_map)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files, where poolings are counted too."""
        names: dict[str, Any] = {"conv1": "features.0", "head": Line("classifier.1", transform="dense_as_1x1_conv")}
        index, number = 2, 1
        for stage in self.stages:
            for _ in stage:
                index, number = index + 1, number + 1
                names |= {f"fire{number}/{layer}": f"features.{index}.{layer}" for layer in LAYERS}
            index += 1
        return {"torchvision": names}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


LAYERS = ("squeeze", "expand1x1", "expand3x3")


FIRE = {number: FireWidths(16 * (number // 2), 64 * (number // 2)) for number in range(2, 10)}

_squeezenet = partial(classifier, SqueezeNet, kind=ClassMaps, head_init=small_normal_linear)

VARIANTS = {
    "squeezenet1_0": partial(
        _squeezenet,
        stages=((FIRE[2], FIRE[3], FIRE[4]), (FIRE[5], FIRE[6], FIRE[7], FIRE[8]), (FIRE[9],)),
        stem_width=96,
        stem_kernel_size=7,
    ),
    "squeezenet1_1": partial(
        _squeezenet,
        stages=((FIRE[2], FIRE[3]), (FIRE[4], FIRE[5]), (FIRE[6], FIRE[7], FIRE[8], FIRE[9])),
        stem_width=64,
        stem_kernel_size=3,
    ),
}
