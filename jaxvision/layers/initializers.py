"""Initial values of parameters, as the papers and PyTorch draw them."""

import jax
from flax.linen.initializers import Initializer, variance_scaling

he_fan_in = variance_scaling(2.0, "fan_in", "normal")
he_fan_out = variance_scaling(2.0, "fan_out", "normal")


def uniform(bound: float) -> Initializer:
    """Returns an initializer that draws from the uniform distribution on [-bound, bound)."""

    def draw(key, shape, dtype=float, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
