"""The convolutional network that a classic course begins with: three convolutions and one linear layer.

A. Ng, "Convolutional Neural Networks", DeepLearning.AI, first week, "Simple convolutional network example": from
39x39x3 to 37x37x10, 17x17x20 and 7x7x40, and these 1,960 numbers to the classes. Shapes: B batch, H height, W width,
C channels, D dimension.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_in

IMAGE_SIZE, MAP_SIZE = 39, 7


class ConvNet(nn.Module):
    """Three convolutions without padding, each with a ReLU, for images of 39x39 pixels.

    Attributes:
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each convolution: [B, 37, 37, 10], [B, 17, 17, 20] and [B, 7, 7, 40].

        Of larger images the maps are larger; `pool` takes 7x7 pixels of the last, `convolutionalize` slides that.
        """
        del train
        check_image(image, self.in_channels, at_least=IMAGE_SIZE)
        x, stages = image, []
        for number, (width, kernel_size, stride) in enumerate(((10, 3, 1), (20, 5, 2), (40, 5, 2)), start=1):
            conv = partial(conv2d, width, kernel_size, stride, padding=0, dtype=self.dtype, kernel_init=he_fan_in)
            x = nn.relu(conv(name=f"conv{number}")(x))
            stages.append(x)
        return tuple(stages)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, 7, 7, 40] -> [B, 1960]
        """Returns the pixels of the map, channel by channel as PyTorch flattens it, so that the weights are the same.

        Raises:
            ValueError: the map is of larger images.
        """
        del train
        height, width = feature_map.shape[1:3]
        if (height, width) != (MAP_SIZE, MAP_SIZE):
            raise ValueError(
                f"the linear layer takes maps of {MAP_SIZE}x{MAP_SIZE} pixels (images of {IMAGE_SIZE}x{IMAGE_SIZE}), "
                f"got {height}x{width}: convolutionalize slides it over larger ones"
            )
        return feature_map.transpose(0, 3, 1, 2).reshape(len(feature_map), -1)

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that numbers them from 1."""
        return {"torch": {"conv{i}": "conv{i}", "head": "output"}}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, self.in_channels), jnp.float32)


VARIANTS = {"convnet": partial(classifier, ConvNet, num_classes=10)}
