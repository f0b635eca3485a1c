"""Averages of weights along a run, and the statistics of BatchNorm that belong to them.

Shapes: C channels.
"""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxvision.layers.norm import BatchNorm
from train.shared.state import TrainState


def swa(start: int, every: int) -> Callable[[TrainState], TrainState]:
    """Returns an `after_update` that keeps the mean of the weights at `start`, `start + every`, ... steps.

    Stochastic weight averaging, https://arxiv.org/abs/1803.05407; until `start` the average is the weights themselves.
    A step that is skipped for a loss that is not finite leaves its weights out of the mean.
    """

    def after_update(state: TrainState) -> TrainState:
        late = state.step + 1 - start
        share = jnp.where(late % every == 0, 1 / (late // every + 1), 0)
        share = jnp.where(late <= 0, 1, share)
        mix = lambda mean, new: mean + share.astype(mean.dtype) * (new - mean)
        average = jax.tree.map(mix, state.average, {"params": state.params, **state.model_state})
        return state.replace(average=average)

    return after_update


def recompute_statistics(loss_fn: Callable, variables: Any, batches: Iterable[Any], rng: jax.Array) -> Any:
    """Returns the variables with the running statistics of every BatchNorm as their weights make them.

    Averaged weights need it, as no step has measured the statistics of their layers. Mean and variance are those of all
    the values of the batches together (https://arxiv.org/abs/2105.07576), not a moving average; the variance is the
    unbiased one, as in training.

    Args:
        loss_fn: of training (see `make_train_step`): the layers see images augmented as they were there.
        variables: of a model; without `batch_stats` they come back as they are.
        batches: a pass over the training set.
        rng: of augmentation and dropout.
    """
    if "batch_stats" not in variables:
        return variables
    params, model_state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    measure = jax.jit(lambda batch, rng: _statistics(loss_fn, params, model_state, batch, rng))
    pooled: dict[tuple[str, ...], tuple] = {}
    for index, batch in enumerate(batches):
        for path, part in jax.device_get(measure(batch, jax.random.fold_in(rng, index))).items():
            part = tuple(map(np.float64, part))
            pooled[path] = _pool(pooled[path], part) if path in pooled else part
    measured = traverse_util.flatten_dict(variables["batch_stats"])
    for path, (mean, var, count) in pooled.items():
        measured |= {(*path, "mean"): np.float32(mean), (*path, "var"): np.float32(var * (count / max(count - 1, 1)))}
    return {**variables, "batch_stats": jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(measured))}


def _statistics(loss_fn: Callable, params: Any, model_state: Any, batch: Any, rng: jax.Array) -> dict:
    """Returns mean [C], biased variance [C] and count of each BatchNorm's input, by the path of the layer."""
    measured = {}

    def record(method, args, kwargs, context):
        result = method(*args, **kwargs)
        if isinstance(context.module, BatchNorm) and context.method_name == "statistics":
            measured[context.module.path] = result
        return result

    with nn.intercept_methods(record):
        loss_fn(params, model_state, batch, rng, 0)
    return measured


def _pool(left: tuple, right: tuple) -> tuple:
    """Mean, biased variance and count of two sets of values together (Chan, Golub and LeVeque, 1983)."""
    (mean, var, count), (other_mean, other_var, other_count) = left, right
    total = count + other_count
    share = other_count / total
    difference = other_mean - mean
    return mean + share * difference, (1 - share) * var + share * other_var + share * (1 - share) * difference**2, total
