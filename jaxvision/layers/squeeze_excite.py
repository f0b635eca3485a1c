"""Squeeze and excitation: channels weighted by what the whole image holds.

Hu, Shen, Albanie, Sun and Wu, "Squeeze-and-excitation networks", https://arxiv.org/abs/1709.01507. Shapes: B batch,
H height, W width, C channels.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.layers.initializers import he_fan_out, uniform
from jaxvision.ops.pooling import spatial_mean


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a number between 0 and 1, got from the means of all channels by two linear layers.

    Attributes:
        width: channels between the two layers.
        activation: after the first.
        gate: after the second: what makes the factors, from 0 to 1.
        kernel_init, bias_init: draw their weights and biases; None draws biases as PyTorch does.
        dtype: of the computation; the means are summed in float32 or wider, parameters are float32.
    """

    width: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    kernel_init: Initializer = he_fan_out
    bias_init: Initializer | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
        """Rescales the channels."""
        channels = x.shape[-1]
        means = spatial_mean(x)  # [B, C]
        y = self.activation(self._linear(self.width, channels, "fc1")(means))
        gate = self.gate(self._linear(channels, self.width, "fc2")(y))  # [B, C]
        return x * gate[:, None, None]

    def _linear(self, features: int, fan_in: int, name: str) -> nn.Dense:
        draw_bias = self.bias_init or uniform(fan_in**-0.5)
        return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, bias_init=draw_bias, name=name)
