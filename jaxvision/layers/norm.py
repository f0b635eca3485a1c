"""Normalisation layers.

Shapes: B batch, C channels.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

# The variance is the mean of squared differences: a mean of squares less a squared mean would cancel.
layer_norm = partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False)


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last, with PyTorch's statistics.

    Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167. Where `flax.linen.BatchNorm` keeps the biased variance of
    the batch as running statistic, PyTorch keeps the unbiased one; so does this layer. Reductions are in float32 or
    wider whatever `dtype` is. Under `jit` a sharded batch is one batch: the statistics are those of all devices.

    Attributes:
        train: normalise with the statistics of the batch and update the running ones; otherwise use the running ones.
        momentum: share of the running statistic kept at each update (PyTorch's `1 - momentum`).
        epsilon: added to the variance.
        scale_init: draws the scale of each channel.
        dtype: of the output.
    """

    train: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, ..., C]
        """Normalises `x` and, in training, updates the `batch_stats` collection."""
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.train:
            mean, var, count = self.statistics(x, around=jax.lax.stop_gradient(running_mean.value))
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        return ((x - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias).astype(self.dtype)

    def statistics(self, x: jax.Array, around: jax.Array) -> tuple[jax.Array, jax.Array, int]:  # [B, ..., C], [C]
        """Returns mean [C] and biased variance [C] of the batch, read in one pass, and how many values each is of.

        The mean of squares less the square of the mean cancels where the mean is large beside the deviation; taken
        around the running mean, which soon is near, it does not.
        """
        total, total_of_squares, count = self.sums(x - around)
        mean = total / count
        return mean + around, jnp.maximum(total_of_squares / count - jnp.square(mean), 0), count

    def sums(self, x: jax.Array) -> tuple[jax.Array, jax.Array, int]:  # [B, ..., C] -> [C], [C], count
        """Returns what adds up over the parts of a batch: where devices hold parts, `pmap` adds these up."""
        axes = tuple(range(x.ndim - 1))
        return x.sum(axes), jnp.square(x).sum(axes), x.size // x.shape[-1]
