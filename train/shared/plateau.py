"""Division of the learning rate where a metric no longer rises, as AlexNet's paper did by hand.

The scale that updates are multiplied by is part of the optimizer's state, and so of every checkpoint.
"""

import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax

from train.shared.state import TrainState

SCALE = "step_size"  # its name in the optimizer's state


def with_scale(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns the rule with a scale in its state, 1 at first, that its updates are multiplied by."""
    return optax.chain(rule, optax.inject_hyperparams(optax.scale)(1.0))


def set_scale(state: TrainState, scale: float) -> TrainState:
    """Returns the state with another scale, laid out on the devices as it was."""
    old = optax.tree.get(state.opt_state, SCALE)
    new = jax.device_put(jnp.full(old.shape, scale, old.dtype), old.sharding)
    return state.replace(opt_state=optax.tree.set(state.opt_state, **{SCALE: new}))


def plateaus(values: Iterable[float], patience: int) -> int:
    """Counts how often a metric has been without a new highest value for so many records in a row.

    After each such time the count of records begins anew, and the highest value stays. NaN is lower than any number.
    PyTorch's ReduceLROnPlateau with `threshold=0` and a patience lower by one does the same.
    """
    best, since, count = -math.inf, 0, 0
    for value in values:
        if value > best:
            best, since = value, 0
        else:
            since += 1
        if since == patience:
            since, count = 0, count + 1
    return count
