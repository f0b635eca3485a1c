"""A multilayer perceptron: fully connected layers with ReLUs on all pixels, what convolutions are measured against.

Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323, 1986, with ReLUs in
place of sigmoids. It knows nothing of which pixels are neighbours. Shapes: B batch, H height, W width, C channels,
D dimension.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import he_fan_in


class Mlp(nn.Module):
    """Hidden fully connected layers, each with a ReLU, for images of one size.

    Attributes:
        widths: of the hidden layers. The default has 1.8 million parameters, four fifths of them in the first layer.
        image_size: height and width of the images.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    widths: tuple[int, ...] = (512, 512)
    image_size: int = 32
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the activations of each hidden layer, as a map of one pixel: [B, 1, 1, D].

        Raises:
            ValueError: the model has no hidden layer, or takes other images.
        """
        del train
        if not self.widths:
            raise ValueError("widths must name one hidden layer or more, got none")
        check_image(image, self.in_channels, size=self.image_size)
        # Channel by channel, as PyTorch flattens its images, so that the weights are the same.
        x, stages = image.transpose(0, 3, 1, 2).reshape(len(image), 1, 1, -1), []
        for number, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, kernel_init=he_fan_in, name=f"fc{number}")(x))
            stages.append(x)
        return tuple(stages)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, 1, 1, D] -> [B, D]
        """Returns the activations of the last hidden layer."""
        del train
        return feature_map[:, 0, 0]

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that numbers them from 1."""
        return {"torch": {"fc{i}": "fc{i}", "head": "output"}}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


VARIANTS = {"mlp": partial(classifier, Mlp, num_classes=10)}
