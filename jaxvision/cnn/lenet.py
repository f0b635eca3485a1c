"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf. Departures from the paper: every map of C3 sees every map of S2 (the
paper's connection table saved arithmetic), subsampling has no trainable coefficient, tanh is unscaled, and the output
is a linear layer in place of radial basis units. Shapes: B batch, H height, W width, C channels, D dimension.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import uniform

IMAGE_SIZE = 32


def lecun(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """The paper draws weights uniformly between -2.4 / F and 2.4 / F, F the inputs of a unit (appendix A)."""
    del fan_out
    draw = uniform(2.4 / fan_in)
    return draw, draw


def subsample(x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/2, W/2, C]
    """The mean of each window of 2x2 pixels, summed in float32 or wider."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return nn.avg_pool(wide, (2, 2), (2, 2)).astype(x.dtype)


class LeNet5(nn.Module):
    """The convolutional layers C1 to C5 and the fully connected F6 of LeNet-5.

    Its images have 32x32 pixels; `convolutionalize` slides it over larger ones, as the paper's section VII does.

    Attributes:
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    in_channels: int = 1
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Names the layers as the paper does."""
        self.c1 = self._conv(6, self.in_channels)
        self.c3 = self._conv(16, 6)
        self.c5 = self._conv(120, 16)
        kernel_init, bias_init = lecun(120, 84)
        self.f6 = nn.Dense(84, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init)

    def _conv(self, features: int, in_channels: int) -> nn.Conv:
        kernel_init, bias_init = lecun(5 * 5 * in_channels, features)
        return conv2d(features, 5, padding=0, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init)

    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns S2 [B, 14, 14, 6], S4 [B, 5, 5, 16] and C5 [B, 1, 1, 120]; of larger images larger maps."""
        del train
        check_image(image, self.in_channels, at_least=IMAGE_SIZE)
        s2 = nn.tanh(subsample(self.c1(image)))
        s4 = nn.tanh(subsample(self.c3(s2)))
        return s2, s4, nn.tanh(self.c5(s4))

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, 1, 1, 120] -> [B, 84]
        """Returns the activations of F6.

        Raises:
            ValueError: the map is of larger images.
        """
        del train
        if (size := feature_map.shape[1:3]) != (1, 1):
            raise ValueError(
                f"F6 takes a map of one pixel (images of {IMAGE_SIZE}x{IMAGE_SIZE}), got {size[0]}x{size[1]}: "
                "convolutionalize slides it over larger ones"
            )
        return nn.tanh(self.f6(feature_map.reshape(len(feature_map), -1)))

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that calls them as the paper does."""
        return {"torch": {"c{i}": "c{i}", "f6": "f6", "head": "output"}}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, self.in_channels), jnp.float32)


VARIANTS = {"lenet5": partial(classifier, LeNet5, num_classes=10, head_init=lecun)}
