"""Alignment: how a recurrent decoder looks at places of a sentence or an image, one step after the other.

Shapes: B batch, K queries, S places, C channels of a place, D dimension of queries and keys.
"""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.initializers import torch_kernel


class Memory(NamedTuple):
    """What a decoder looks at: S places.

    Attributes:
        values: [B, S, C], what is there.
        keys: [B, S, D], what they are found by.
        mask: bool [B, S], which of them there are.
    """

    values: jax.Array
    keys: jax.Array
    mask: jax.Array


class Alignment(nn.Module):
    """How well each place of a memory fits what a decoder asks.

    Additive as in Bahdanau, Cho and Bengio 2015, https://arxiv.org/abs/1409.0473, the others as in Luong, Pham and
    Manning 2015, https://arxiv.org/abs/1508.04025.

    Attributes:
        kind: "additive", v tanh(W q + U k); "multiplicative", q W k; "dot", q k.
        hidden: D, of the queries and keys.
        dtype: of the computation; the softmax is of float32 or wider.
    """

    kind: Literal["additive", "multiplicative", "dot"]
    hidden: int
    dtype: DTypeLike

    def setup(self):
        """Makes the layers that the kind has."""
        linear = partial(nn.Dense, use_bias=False, dtype=self.dtype, kernel_init=torch_kernel)
        if self.kind != "dot":
            self.key = linear(self.hidden)
        if self.kind == "additive":
            self.query = linear(self.hidden)
            self.score = linear(1)

    def keys(self, values: jax.Array) -> jax.Array:  # [B, S, C] -> [B, S, D]
        """Returns what places are found by: the part of the score that is the same at every step."""
        return values if self.kind == "dot" else self.key(values)

    def __call__(self, query: jax.Array, memory: Memory) -> jax.Array:  # [B, K, D] -> [B, K, S]
        """Returns how much of each place a query gets: they sum to 1, or are 0 where there is no place at all."""
        if self.kind == "additive":
            asked = self.query(query)[:, :, None] + memory.keys[:, None]  # [B, K, S, D]
            scores = self.score(jnp.tanh(asked))[..., 0]
        else:
            scores = query @ memory.keys.swapaxes(1, 2)
        scores, mask = scores.astype(jnp.promote_types(self.dtype, jnp.float32)), memory.mask[:, None]
        # The lowest finite number, not -inf: where there is no place at all, nothing is NaN.
        weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
        return jnp.where(mask, weights, 0).astype(self.dtype)
