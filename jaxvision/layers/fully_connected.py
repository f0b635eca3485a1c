"""The hidden fully connected layers of AlexNet and VGG.

Shapes: B batch, H height, W width, C channels, D dimension.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.conv import conv2d
from jaxvision.layers.initializers import LinearInit


class FullyConnected(nn.Module):
    """Two fully connected layers over a map of `size` x `size` pixels, each with ReLU and dropout.

    They are convolutions, the first with a kernel as large as that map, so that on a larger one they give what they
    would give at each place (Simonyan and Zisserman, https://arxiv.org/abs/1409.1556, section 3.2).

    Attributes:
        size: height and width of the map that the first layer sees.
        dim: outputs of each layer.
        dropout: the share of activations dropped.
        dropout_first: of what each layer takes, in place of what it gives.
        linear_init: from the numbers of inputs and outputs of a layer, how its weights and bias are drawn.
        dtype: of the computation; parameters are float32.
    """

    size: int
    dim: int
    dropout: float
    dropout_first: bool
    linear_init: LinearInit
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C]
        """Returns [B, H - size + 1, W - size + 1, D].

        Raises:
            ValueError: the map is smaller than the first layer's kernel.
        """
        height, width, channels = feature_map.shape[1:]
        if min(height, width) < self.size:
            raise ValueError(f"the first layer sees {self.size}x{self.size} pixels, the map has {height}x{width}")
        fc6 = conv2d(self.dim, self.size, padding=0, **self._fields(self.size**2 * channels), name="fc6")
        fc7 = nn.Dense(self.dim, **self._fields(self.dim), name="fc7")
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = feature_map
        for layer in (fc6, fc7):
            x = nn.relu(layer(drop(x))) if self.dropout_first else drop(nn.relu(layer(x)))
        return x

    def _fields(self, fan_in: int) -> dict:
        kernel_init, bias_init = self.linear_init(fan_in, self.dim)
        return {"dtype": self.dtype, "kernel_init": kernel_init, "bias_init": bias_init}
