"""The training step: gradient, update, what follows the update; pure, and the same for every task.

Shapes: B batch, M microbatches.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxvision.layers.norm import BatchNorm
from train.shared.state import TrainState

Batch = Any
Metrics = dict[str, jax.Array]
LossFn = Callable[..., tuple[tuple[jax.Array, jax.Array], tuple[Any, Metrics]]]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    after_update: Callable[[TrainState], TrainState] | None = None,
    max_nonfinite: int = 10,
    axis_name: str | None = None,
) -> TrainStep:
    """Returns the pure function `(state, batch) -> (state, metrics)`.

    Args:
        loss_fn: `(params, model_state, batch, rng, step) -> (loss_sum, count), (model_state, metrics)`, sums over the
            examples of the batch, so that batches, devices and microbatches of any size add up exactly.
        optimizer: turns the gradient of `loss_sum / count` into an update.
        accumulate: microbatches that the batch is cut into; their sums make one update (BatchNorm sees them singly).
        after_update: applied to the state after each update.
        max_nonfinite: after so many skipped steps in a row every further step is skipped too.
        axis_name: under `pmap`, the axis the batch is dealt out over: each device has its part, and gradient, metrics
            and the statistics of BatchNorm are those of the whole. Random draws differ from device to device.

    The metrics come back as sums too: those of `loss_fn`, `loss`, `gradient_norm` (weighted by `count`) and `count`,
    all zero in a step whose loss, gradient or update is not finite; such a step changes nothing but the counters `step`
    and `nonfinite` of the state, and shows as `skipped`.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        with _batch_norm_over(axis_name):
            gradient_sum, model_state, metrics = _gradient(
                loss_fn, state, batch, _on_device(rng, axis_name), accumulate
            )
        gradient_sum, metrics = _sum_over(axis_name, (gradient_sum, metrics))
        gradient = jax.tree.map(lambda g: (g / metrics["count"]).astype(g.dtype), gradient_sum)
        norm = optax.tree.norm(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        numbers = jnp.stack([norm, metrics["loss"], optax.tree.norm(updates)])
        finite = jnp.isfinite(numbers).all() & (state.nonfinite < max_nonfinite)
        updated = state.replace(
            params=optax.apply_updates(state.params, updates), opt_state=opt_state, model_state=model_state
        )
        if after_update is not None:
            updated = after_update(updated)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
        metrics = jax.tree.map(lambda m: jnp.where(finite, m, 0), metrics | {"gradient_norm": norm * metrics["count"]})
        state = state.replace(step=state.step + 1, nonfinite=jnp.where(finite, 0, state.nonfinite + 1))
        return state, metrics | {"skipped": 1 - finite.astype(jnp.int32)}

    return train_step


def _gradient(loss_fn: LossFn, state: TrainState, batch: Batch, rng: jax.Array, accumulate: int):
    """Returns the gradient of the summed loss, the model state after the batch, and the metrics."""

    def gradient(model_state, batch, rng):
        def total(params):
            (loss, count), (new_state, metrics) = loss_fn(params, model_state, batch, rng, state.step)
            return loss, (new_state, {**metrics, "loss": loss, "count": count})

        gradients, (new_state, metrics) = jax.grad(total, has_aux=True)(state.params)
        return gradients, new_state, metrics

    if accumulate == 1:
        return gradient(state.model_state, batch, rng)

    def body(carry, microbatch):
        model_state, sums, index = carry
        gradients, model_state, metrics = gradient(model_state, microbatch, jax.random.fold_in(rng, index))
        return (model_state, jax.tree.map(jnp.add, sums, (gradients, metrics)), index + 1), None

    microbatches = jax.tree.map(lambda x: _split(x, accumulate), batch)
    first = jax.tree.map(lambda x: x[0], microbatches)
    shapes = jax.eval_shape(gradient, state.model_state, first, rng)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], shapes[2]))
    (model_state, (gradients, metrics), _), _ = jax.lax.scan(body, (state.model_state, zeros, 0), microbatches)
    return gradients, model_state, metrics


def _sum_over(axis_name: str | None, tree: Any) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _on_device(rng: jax.Array, axis_name: str | None) -> jax.Array:
    return rng if axis_name is None else jax.random.fold_in(rng, jax.lax.axis_index(axis_name))


def _batch_norm_over(axis_name: str | None) -> contextlib.AbstractContextManager:
    """Within it, every BatchNorm takes its statistics over all devices of the axis, as models know nothing of them."""

    def add_up(method, args, kwargs, context):
        result = method(*args, **kwargs)
        is_sums = isinstance(context.module, BatchNorm) and context.method_name == "sums"
        return _sum_over(axis_name, result) if is_sums else result

    return contextlib.nullcontext() if axis_name is None else nn.intercept_methods(add_up)


def _split(x: jax.Array, accumulate: int) -> jax.Array:  # [B, ...] -> [M, B/M, ...]
    """Deals the examples out in turn, so that a batch sharded over devices needs no exchange."""
    if len(x) % accumulate:
        raise ValueError(f"a batch of {len(x)} does not divide into {accumulate} microbatches (accumulate)")
    return jnp.moveaxis(x.reshape(len(x) // accumulate, accumulate, *x.shape[1:]), 1, 0)


def means(totals: dict[str, Any]) -> dict[str, float]:
    """Divides sums over examples by their count; `skipped`, a number of steps, stays as it is."""
    totals = {name: float(value) for name, value in totals.items()}
    count, skipped = totals.pop("count"), totals.pop("skipped", 0.0)
    result = {name: value / count if count else float("nan") for name, value in totals.items()}
    return result | ({"skipped": skipped} if skipped else {})
