"""Network in Network: Lin, Chen and Yan, 2013, https://arxiv.org/abs/1312.4400.

After each convolution two of 1x1 pixels: a small network slid over the map. There is no fully connected layer: the last
1x1 convolution gives a map for each class, and the mean of its ReLU is the logit. `nin` is the authors' network for
CIFAR-10, `nin_imagenet` theirs of Caffe's zoo, whose initial values both take; poolings cover every pixel, as Caffe's
do. Shapes: B batch, H height, W width, C channels, D dimension, K classes.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import ClassMaps, classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import LinearInit
from jaxvision.ops.pooling import ceil_padding, max_pool, spatial_mean
from jaxvision.weights.names import Line


def gaussian(std: float) -> LinearInit:
    """Returns what draws weights from a normal distribution and sets biases to zero."""
    return lambda fan_in, fan_out: (nn.initializers.normal(std), nn.initializers.zeros)


class MlpConv(NamedTuple):
    """A convolution, those of 1x1 pixels after it, and what follows them.

    Attributes:
        kernel_size, stride, padding: of the first convolution.
        widths: channels of each of them.
        std: of the first one's initial weights; the others' is 0.05.
        pool: of 3x3 pixels and stride 2.
        dropout: whether activations are dropped in the end.
    """

    kernel_size: int
    widths: tuple[int, ...]
    stride: int = 1
    padding: int | None = None
    std: float = 0.05
    pool: Literal["max", "average", "none"] = "none"
    dropout: bool = False


def pool3x3(x: jax.Array, kind: Literal["max", "average"]) -> jax.Array:  # [B, H, W, C] -> [B, H/2, W/2, C]
    """Pools with stride 2; means are of the pixels there are, in float32 or wider."""
    padding = ceil_padding(x.shape[1:3], 3, 2)
    if kind == "max":
        return max_pool(x, (3, 3), (2, 2), padding)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return nn.avg_pool(wide, (3, 3), (2, 2), padding, count_include_pad=False).astype(x.dtype)


class NiN(nn.Module):
    """Layers of small networks slid over the map.

    Attributes:
        layers: each of them; the last lacks the convolution that gives the class maps.
        image_size: of the images it was made for.
        dropout: the share of activations dropped.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    layers: tuple[MlpConv, ...]
    image_size: int
    dropout: float = 0.5
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each layer, pooled where the layer ends in that."""
        check_image(image, self.in_channels, at_least=self._smallest())
        x, stages, cccp = image, [], 0
        for number, layer in enumerate(self.layers, start=1):
            kernel_init = nn.initializers.normal(layer.std)
            conv = partial(conv2d, layer.widths[0], layer.kernel_size, layer.stride, padding=layer.padding)
            x = nn.relu(conv(kernel_init=kernel_init, dtype=self.dtype, name=f"conv{number}")(x))
            for width in layer.widths[1:]:
                cccp += 1
                x = nn.relu(self._conv1x1(width, cccp)(x))
            x = x if layer.pool == "none" else pool3x3(x, layer.pool)
            stages.append(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x) if layer.dropout else x
        return tuple(stages)

    def _smallest(self) -> int:
        """Each pooling halves the map, and needs two pixels."""
        first = self.layers[0]
        padding = first.kernel_size // 2 if first.padding is None else first.padding
        halvings = sum(layer.pool != "none" for layer in self.layers)
        return first.kernel_size - 2 * padding + first.stride * (2**halvings - 1)

    def _conv1x1(self, width: int, number: int) -> nn.Conv:
        """One of the "cascaded cross-channel parametric poolings" of the paper."""
        return conv2d(width, 1, kernel_init=nn.initializers.normal(0.05), dtype=self.dtype, name=f"cccp{number}")

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel. The logits are no function of it: a ReLU precedes their mean."""
        del train
        return spatial_mean(feature_map)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in a PyTorch module that has Caffe's."""
        return {"caffe": {"conv{i}": "conv{i}", "cccp{i}": "cccp{i}", "head": self._head_name()}}

    def _head_name(self) -> Line:
        number = sum(len(layer.widths) - 1 for layer in self.layers) + 1
        return Line(f"cccp{number}", transform="dense_as_1x1_conv")

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


CIFAR = (
    MlpConv(5, (192, 160, 96), pool="max", dropout=True),
    MlpConv(5, (192, 192, 192), pool="average", dropout=True),
    MlpConv(3, (192, 192)),
)

IMAGENET = (
    MlpConv(11, (96, 96, 96), stride=4, padding=0, std=0.01, pool="max"),
    MlpConv(5, (256, 256, 256), pool="max"),
    MlpConv(3, (384, 384, 384), std=0.01, pool="max", dropout=True),
    MlpConv(3, (1024, 1024)),
)

_nin = partial(classifier, NiN, kind=ClassMaps)

VARIANTS = {
    "nin": partial(_nin, layers=CIFAR, image_size=32, num_classes=10, head_init=gaussian(0.05)),
    "nin_imagenet": partial(_nin, layers=IMAGENET, image_size=224, head_init=gaussian(0.01)),
}
