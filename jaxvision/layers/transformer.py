"""What Transformers are made of beside attention.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, "Attention is all you need",
https://arxiv.org/abs/1706.03762. Shapes: B batch, N tokens, D dimension.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.layers.regularize import StochasticDepth


class Mlp(nn.Module):
    """Two linear layers upon each token by itself, with an activation between.

    Attributes:
        hidden: outputs of the first layer; the second gives as many as the first takes.
        dropout_rate: share of what each layer gives that is dropped in training.
        activation: between the layers; unless told otherwise the exact GELU, as PyTorch's.
        kernel_init, bias_init: draw weights and biases of both layers.
        dtype: of the computation; parameters are float32.
    """

    hidden: int
    dropout_rate: float = 0.0
    activation: Callable[[jax.Array], jax.Array] = partial(nn.gelu, approximate=False)
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, ..., D] -> [B, ..., D]
        """Applies the two."""
        linear = partial(nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init)
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        y = drop(self.activation(linear(self.hidden, name="linear1")(x)))
        return drop(linear(x.shape[-1], name="linear2")(y))


class EncoderBlock(nn.Module):
    """Attention of a sequence upon itself, then two layers for each token, each added to what it was given.

    Attributes:
        attention, mlp, norm: constructors of the layers, with type and initial values bound.
        dropout_rate: share of what attention gives that is dropped in training.
        stochastic_depth_rate: the probability that an example goes without a branch, in training.
        norm_first: whether what a branch is given is normalised, or, as in the paper, the sum.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    norm_first: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None, train: bool) -> jax.Array:  # [B, N, D]
        """Applies the block; `mask` is as `dot_product_attention` takes it."""
        attention, mlp = self.attention(name="attention"), self.mlp(name="mlp")
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        x = self._residual(x, lambda y: drop(attention(y, mask=mask, train=train)), "norm1", train)
        return self._residual(x, partial(mlp, train=train), "norm2", train)

    def _residual(self, x: jax.Array, branch: Callable[[jax.Array], jax.Array], norm: str, train: bool) -> jax.Array:
        norm, leave_out = self.norm(name=norm), StochasticDepth(train, self.stochastic_depth_rate)
        if self.norm_first:
            return x + leave_out(branch(norm(x)))
        return norm(x + leave_out(branch(x)))
