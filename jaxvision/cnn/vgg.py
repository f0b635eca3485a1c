"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.

https://arxiv.org/abs/1409.1556: configurations A, B, D and E, of 11, 13, 16 and 19 layers. As in torchvision, maps of
images of any size are averaged to 7x7 pixels, and the networks `*_bn` normalise before each ReLU (the paper does not).
Shapes: B batch, H height, W width, C channels, D dimension.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.fully_connected import FullyConnected
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.pooling import adaptive_avg_pool, max_pool
from jaxvision.weights.names import Line

MAP_SIZE = 7


def gaussian(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """How torchvision draws weights and bias of the linear layers."""
    del fan_in, fan_out
    return nn.initializers.normal(0.01), nn.initializers.zeros


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by max pooling, and two fully connected layers.

    Attributes:
        depths: convolutions in each stage.
        widths: their channels.
        batch_norm: whether each convolution is normalised.
        fc_dim: outputs of each fully connected layer.
        dropout: the share of the fully connected layers' activations dropped.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = False
    fc_dim: int = 4096
    dropout: float = 0.5
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes what `pool` and `slide` share."""
        self.fully_connected = FullyConnected(MAP_SIZE, self.fc_dim, self.dropout, False, gaussian, self.dtype)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H/2, W/2, C1], [B, H/4, W/4, C2], ..."""
        check_image(image, self.in_channels, at_least=2 ** len(self.depths))
        conv = partial(conv2d, kernel_size=3, kernel_init=he_fan_out, dtype=self.dtype)
        norm = partial(BatchNorm, train, dtype=self.dtype)
        x, stages = image, []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for j in range(1, depth + 1):
                x = conv(width, name=f"stage{i}_conv{j}")(x)
                x = nn.relu(norm(name=f"stage{i}_norm{j}")(x) if self.batch_norm else x)
            x = max_pool(x, (2, 2), (2, 2))
            stages.append(x)
        return tuple(stages)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, D]
        """Returns the activations of the second fully connected layer, of the map averaged to 7x7 pixels."""
        pooled = adaptive_avg_pool(feature_map, (MAP_SIZE, MAP_SIZE))
        return self.fully_connected(pooled, train=train)[:, 0, 0]

    def slide(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, H-6, W-6, D]
        """Returns the same at each place of the map, not averaged."""
        return self.fully_connected(feature_map, train=train)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's and timm's files, which count all layers of the stages together."""
        return {"torchvision": self._stages() | TORCHVISION, "timm": self._stages() | TIMM}

    def _stages(self) -> dict[str, str]:
        names, index = {}, 0
        for i, depth in enumerate(self.depths, start=1):
            for j in range(1, depth + 1):
                names[f"stage{i}_conv{j}"] = f"features.{index}"
                if self.batch_norm:
                    names[f"stage{i}_norm{j}"] = f"features.{index + 1}"
                index += 3 if self.batch_norm else 2
            index += 1
        return names

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


TORCHVISION = {
    "fully_connected/fc6": Line("classifier.0", transform="7x7_conv_as_dense"),
    "fully_connected/fc7": "classifier.3",
    "head": "classifier.6",
}

TIMM = {
    "fully_connected/fc6": "pre_logits.fc1",
    "fully_connected/fc7": Line("pre_logits.fc2", transform="dense_as_1x1_conv"),
    "head": "head.fc",
}

DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

_vgg = partial(classifier, VGG, head_init=gaussian)

VARIANTS = {
    **{f"vgg{n}": partial(_vgg, depths=depths) for n, depths in DEPTHS.items()},
    **{f"vgg{n}_bn": partial(_vgg, depths=depths, batch_norm=True) for n, depths in DEPTHS.items()},
}
