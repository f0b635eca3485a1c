"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012.

https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks. `alexnet_paper` is
that network; its two GPUs are groups of the convolutions that see one GPU's channels alone. `alexnet` is torchvision's,
the one tower of https://arxiv.org/abs/1404.5997, which averages images of any size to a map of 6x6 pixels; so, beyond
the paper, does the other where its image has not 227x227. Shapes: B batch, H height, W width, C channels, D dimension.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.fully_connected import FullyConnected
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import LinearInit, torch_linear
from jaxvision.ops.local_response import local_response_norm
from jaxvision.ops.pooling import adaptive_avg_pool, max_pool
from jaxvision.weights.names import Line

ResponseNorm = Literal["none", "before_pool", "after_pool"]
ConvInit = Callable[[int, int], tuple[Initializer, Initializer]]
"""From the number of a convolution, 1 to 5, and its inputs, how its weights and its bias are drawn."""

MAP_SIZE = 6
KERNELS = (11, 5, 3, 3, 3)
POOLED = (1, 2, 5)  # convolutions that a pooling follows, and in the paper, but for the last, a normalisation
gaussian = nn.initializers.normal(0.01)


def torch_conv(number: int, fan_in: int) -> tuple[Initializer, Initializer]:
    """PyTorch draws every layer so, unless it is told otherwise."""
    del number
    return torch_linear(fan_in, 0)


def paper_conv(number: int, fan_in: int) -> tuple[Initializer, Initializer]:
    """The paper's section 5: biases of 1 give the ReLUs of the second, fourth and fifth layer positive inputs."""
    del fan_in
    return gaussian, nn.initializers.ones if number in (2, 4, 5) else nn.initializers.zeros


def paper_hidden(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """The same of the fully connected hidden layers."""
    del fan_in, fan_out
    return gaussian, nn.initializers.ones


def paper_head(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """The same of the last layer."""
    del fan_in, fan_out
    return gaussian, nn.initializers.zeros


class AlexNet(nn.Module):
    """Five convolutions, of which the first, second and fifth are pooled, and two fully connected layers.

    Attributes:
        widths: channels of the convolutions.
        first_padding: of the first convolution.
        groups: of the convolutions.
        response_norm: local response normalisation of the first two: none, or before (the paper) or after (Caffe) their
            pooling.
        fc_dim: outputs of each fully connected layer.
        dropout: the share of the fully connected layers' activations dropped.
        dropout_first: of what those layers take, in place of what they give.
        conv_init, linear_init: how weights and biases are drawn.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    widths: tuple[int, ...] = (64, 192, 384, 256, 256)
    first_padding: int = 2
    groups: tuple[int, ...] = (1, 1, 1, 1, 1)
    response_norm: ResponseNorm = "none"
    fc_dim: int = 4096
    dropout: float = 0.5
    dropout_first: bool = True
    conv_init: ConvInit = torch_conv
    linear_init: LinearInit = torch_linear
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes what `pool` and `slide` share."""
        self.fully_connected = FullyConnected(
            MAP_SIZE, self.fc_dim, self.dropout, self.dropout_first, self.linear_init, self.dtype
        )

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns what is pooled: [B, H/8, W/8, C1], [B, H/16, W/16, C2], [B, H/32, W/32, C5], less at the edges."""
        del train
        check_image(image, self.in_channels, at_least=67 - 2 * self.first_padding)
        if self.response_norm not in get_args(ResponseNorm):
            options = ", ".join(get_args(ResponseNorm))
            raise ValueError(f"response_norm must be one of {options}, got {self.response_norm!r}")
        x, stages = image, []
        for number in range(1, 6):
            x = nn.relu(self._conv(number, x.shape[-1])(x))
            if number in POOLED:
                x = self._reduce(x, self.response_norm if number < 5 else "none")
                stages.append(x)
        return tuple(stages)

    def _conv(self, number: int, channels: int) -> nn.Conv:
        size, groups = KERNELS[number - 1], self.groups[number - 1]
        kernel_init, bias_init = self.conv_init(number, size * size * channels // groups)
        return conv2d(
            self.widths[number - 1],
            size,
            4 if number == 1 else 1,
            padding=self.first_padding if number == 1 else None,
            feature_group_count=groups,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            name=f"conv{number}",
        )

    def _reduce(self, x: jax.Array, response_norm: ResponseNorm) -> jax.Array:
        x = local_response_norm(x) if response_norm == "before_pool" else x
        x = max_pool(x, (3, 3), (2, 2))
        return local_response_norm(x) if response_norm == "after_pool" else x

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, D]
        """Returns the activations of the second fully connected layer, of the map averaged to 6x6 pixels."""
        pooled = adaptive_avg_pool(feature_map, (MAP_SIZE, MAP_SIZE))
        return self.fully_connected(pooled, train=train)[:, 0, 0]

    def slide(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, H-5, W-5, D]
        """Returns the same at each place of the map, not averaged."""
        return self.fully_connected(feature_map, train=train)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files, and in those of a PyTorch module with Caffe's names."""
        return {"torchvision": TORCHVISION, "caffe": CAFFE}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        size = 224 if self.first_padding else 227
        return jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)


TORCHVISION = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fully_connected/fc6": Line("classifier.1", transform="6x6_conv_as_dense"),
    "fully_connected/fc7": "classifier.4",
    "head": "classifier.6",
}

CAFFE = {
    "conv{i}": "conv{i}",
    "fully_connected/fc6": Line("fc6", transform="6x6_conv_as_dense"),
    "fully_connected/fc7": "fc7",
    "head": "fc8",
}

VARIANTS = {
    "alexnet": partial(classifier, AlexNet),
    "alexnet_paper": partial(
        classifier,
        AlexNet,
        widths=(96, 256, 384, 384, 256),
        first_padding=0,
        groups=(1, 2, 1, 2, 2),
        response_norm="before_pool",
        dropout_first=False,
        conv_init=paper_conv,
        linear_init=paper_hidden,
        head_init=paper_head,
    ),
}
