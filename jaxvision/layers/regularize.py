"""Layers that do something in training alone.

Shapes: B batch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class StochasticDepth(nn.Module):
    """Leaves a residual branch out, for each example by chance, and scales what is left so that the mean stays.

    Huang, Sun, Liu, Sedra and Weinberger, "Deep networks with stochastic depth", https://arxiv.org/abs/1603.09382; as
    torchvision's `stochastic_depth` of mode "row", the branch is scaled in training and not, as in the paper, in
    inference. The key is of the stream "dropout".

    Attributes:
        train: whether to leave out anything.
        rate: the probability that an example goes without the branch; an array where it is that of a step of a loop.
    """

    train: bool
    rate: float | jax.Array

    @nn.compact
    def __call__(self, branch: jax.Array) -> jax.Array:  # [B, ...] -> [B, ...]
        """Returns what is to be added to the shortcut.

        Raises:
            ValueError: the rate is no probability.
        """
        if isinstance(self.rate, jax.Array):
            return self._drop(branch) if self.train else branch
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of stochastic depth must be from 0 to 1, got {self.rate}")
        drop = nn.Dropout(self.rate, broadcast_dims=tuple(range(1, branch.ndim)))
        return drop(branch, deterministic=not self.train)

    def _drop(self, branch: jax.Array) -> jax.Array:
        """Does it at a rate that is known only when the program runs."""
        shape = len(branch), *[1] * (branch.ndim - 1)
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        share = jnp.maximum(1 - self.rate, jnp.finfo(branch.dtype).tiny).astype(branch.dtype)
        return jnp.where(kept, branch / share, 0)
