"""Where a compiler must hold a value in memory in place of computing it anew for each of its users."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


def materializer(witness: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Returns an identity whose result, and whose gradient, XLA's CPU compiler holds in memory.

    That compiler fuses the sums of a residual network into each of their users: every block then adds up again what all
    blocks before it gave, in time quadratic in the depth (ResNet-110: 2.1 s in place of 0.7 s for a step of 32 images),
    and an optimization barrier is taken away before that happens. A conditional stays. Other platforms get `x` itself.

    Args:
        witness: any array that is known only when the program runs, such as the image.
    """
    value = lax.stop_gradient(witness[(0,) * witness.ndim])
    always = (value == value) | (value != value)  # true of NaN too; XLA does not see it

    def materialize(x: jax.Array) -> jax.Array:
        held = lambda x: lax.cond(always, lambda x: x, jnp.zeros_like, x)
        return lax.platform_dependent(x, cpu=held, default=lambda x: x)

    return materialize
