"""The state of a training run: everything a step reads and writes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """A pytree; what a checkpoint holds.

    Attributes:
        step: steps taken, skipped ones included; with the seed it fixes every random draw and the order of the data.
        params: the parameters that the optimizer moves.
        model_state: the model's other collections, such as `batch_stats`.
        opt_state: the optimizer's.
        average: `params` and `model_state` averaged over the steps (see `ema`); None without averaging.
        rng: data of the run's random key.
        nonfinite: steps skipped in a row because the loss, its gradient or the update was not finite.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    average: Any
    rng: jax.Array
    nonfinite: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """The variables to evaluate and to keep: the average where there is one."""
        if self.average is not None:
            return self.average
        return {"params": self.params, **self.model_state}


def create_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, rng: jax.Array, *, average: bool = False
) -> TrainState:
    """Returns the state before the first step, from copies of a model's variables and a random key."""
    variables = jax.tree.map(jnp.copy, variables)  # steps donate the state: what the caller holds must stay
    params, model_state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, variables) if average else None,
        rng=jax.random.key_data(rng),
        nonfinite=jnp.zeros((), jnp.int32),
    )


def stack(states: Sequence[TrainState]) -> TrainState:
    """Returns one state for `vmap`, the arrays of all along a new first axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)


def ema(decay: float) -> Callable[[TrainState], TrainState]:
    """Returns an `after_update` that keeps an exponential moving average of parameters and statistics.

    The decay grows towards its value over the first steps, so that the initial parameters are soon forgotten.
    """

    def after_update(state: TrainState) -> TrainState:
        warm = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        mix = lambda old, new: old + (1 - warm).astype(old.dtype) * (new - old)
        average = jax.tree.map(mix, state.average, {"params": state.params, **state.model_state})
        return state.replace(average=average)

    return after_update
