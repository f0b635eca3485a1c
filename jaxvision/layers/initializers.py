"""Initial values of parameters, as the papers and PyTorch draw them."""

from collections.abc import Callable

import jax
from flax.linen.initializers import Initializer, normal, variance_scaling, zeros

LinearInit = Callable[[int, int], tuple[Initializer, Initializer]]
"""From the inputs and outputs of a linear layer, how its weights and its bias are drawn."""

he_fan_in = variance_scaling(2.0, "fan_in", "normal")
he_fan_out = variance_scaling(2.0, "fan_out", "normal")


def uniform(bound: float) -> Initializer:
    """Returns an initializer that draws from the uniform distribution on [-bound, bound)."""

    def draw(key, shape, dtype=float, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def torch_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights and bias of a linear layer as PyTorch does unless it is told otherwise."""
    del fan_out
    draw = uniform(fan_in**-0.5)
    return draw, draw


def torch_kernel(key, shape, dtype=float, out_sharding=None):
    """Draws the weights of a linear layer as `torch_linear` does, whatever the number of its inputs."""
    return uniform(shape[-2] ** -0.5)(key, shape, dtype, out_sharding)


def zero_bias_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns the same with a bias of zero."""
    weights, _ = torch_linear(fan_in, fan_out)
    return weights, zeros


def small_normal_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights of a linear layer with a standard deviation of 0.01 and sets its bias to zero."""
    del fan_in, fan_out
    return normal(0.01), zeros
