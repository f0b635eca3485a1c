"""How batches reach the step: gathered from a data set held on the devices, or streamed from the host.

Shapes: N examples, B batch, K steps in a dispatch.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from train.shared.mesh import batch_sharding, replicated, state_sharding
from train.shared.state import TrainState
from train.shared.step import Metrics, TrainStep

Advance = Callable[[TrainState, int, int], tuple[TrainState, Metrics]]


class ShuffledOrder:
    """The examples of each step: every epoch a new permutation, its incomplete last batch left out.

    A pure function of the seed and the step, so that a run can stop and go on anywhere.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int):
        """Raises ValueError for a batch larger than the data set."""
        if batch_size > num_examples:
            raise ValueError(f"--batch-size {batch_size} is larger than the training set of {num_examples} examples")
        self.num_examples, self.batch_size, self.seed = num_examples, batch_size, seed
        self.steps_per_epoch = num_examples // batch_size
        self._batches = functools.lru_cache(maxsize=2)(self._shuffle)  # threads ask for steps of two epochs at a time

    def __call__(self, step: int) -> np.ndarray:
        """Returns the indices [B] of the examples of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._batches(epoch)[position]

    def _shuffle(self, epoch: int) -> np.ndarray:  # [steps_per_epoch, B]
        random = np.random.RandomState(np.random.SeedSequence([self.seed, epoch]).generate_state(4))
        order = random.permutation(self.num_examples)[: self.steps_per_epoch * self.batch_size]
        return order.reshape(-1, self.batch_size).astype(np.int32)


def resident(
    train_step: TrainStep,
    arrays: Any,
    order: Callable[[int], np.ndarray],
    state: TrainState,
    mesh: Mesh,
    *,
    steps_per_dispatch: int | None = None,
) -> tuple[Advance, TrainState]:
    """Holds a data set on the devices and compiles steps that gather their batches there.

    Args:
        train_step: from `make_train_step`.
        arrays: a pytree of arrays [N, ...]; a batch is the same pytree of arrays [B, ...].
        order: the indices [B] of the examples of a step.
        state: the state before the run.
        mesh: from `make_mesh`.
        steps_per_dispatch: steps compiled into one program; by default one on a CPU (where a loop of convolutions runs
            at half the speed or less) and up to 50 elsewhere, where a dispatch costs more than a small step.

    Returns:
        The function `(state, start, stop) -> (state, metrics)` that runs the steps from `start` to before `stop` and
        sums their metrics, and the state laid out on the mesh.
    """
    most = steps_per_dispatch or (1 if jax.default_backend() == "cpu" else 50)
    sharding, whole = state_sharding(state, mesh), replicated(mesh)
    arrays, state = jax.device_put(arrays, whole), jax.device_put(state, sharding)

    def one(carry: tuple[TrainState, Metrics], indices: jax.Array, arrays: Any):
        batch = jax.tree.map(lambda array: array[indices], arrays)
        state, metrics = train_step(carry[0], batch)
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    def run(state: TrainState, totals: Metrics, arrays: Any, indices: jax.Array):  # indices [K, B]
        carry = state, totals
        if len(indices) == 1:
            return one(carry, indices[0], arrays)
        return jax.lax.scan(lambda carry, index: (one(carry, index, arrays), None), carry, indices)[0]

    compiled = jax.jit(
        run,
        in_shardings=(sharding, whole, whole, batch_sharding(mesh, axis=1)),
        out_shardings=(sharding, whole),
        donate_argnums=(0, 1),
    )
    batch = jax.eval_shape(lambda arrays: jax.tree.map(lambda array: array[order(0)], arrays), arrays)
    shapes = jax.eval_shape(train_step, state, batch)[1]

    def advance(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        totals = jax.device_put({name: np.zeros(m.shape, m.dtype) for name, m in shapes.items()}, whole)
        for first in range(start, stop, most):
            indices = np.stack([order(step) for step in range(first, min(first + most, stop))])
            state, totals = compiled(state, totals, arrays, indices)
        return state, totals

    return advance, state


def streaming(
    train_step: TrainStep, batches: Callable[[int], Iterator[Any]], state: TrainState, mesh: Mesh
) -> tuple[Advance, TrainState]:
    """Compiles a step whose batches come from the host, each on its way to the devices while the step before runs.

    Args:
        train_step: from `make_train_step`.
        batches: the batches, pytrees of arrays [B, ...], of the steps from a given one on.
        state: the state before the run.
        mesh: from `make_mesh`.

    Returns:
        As `resident` does.
    """
    sharding, whole, dealt = state_sharding(state, mesh), replicated(mesh), batch_sharding(mesh)
    compiled = jax.jit(train_step, in_shardings=(sharding, dealt), out_shardings=(sharding, whole), donate_argnums=0)
    add = jax.jit(lambda totals, metrics: jax.tree.map(jnp.add, totals, metrics))
    ahead: dict[int, Iterator[Any]] = {}  # by the step that it stands at

    def advance(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        source = ahead.pop(start, None) or batches(start)
        totals = None
        for _ in range(start, stop):
            state, metrics = compiled(state, jax.device_put(next(source), dealt))
            before, totals = totals, metrics if totals is None else add(totals, metrics)
            jax.block_until_ready(before)  # or batches would pile up on the devices
        ahead.clear()
        ahead[stop] = source
        return state, totals

    return advance, jax.device_put(state, sharding)
