"""How batches reach the step: gathered from a data set held on the devices, or streamed from the host.

Shapes: N examples, B batch, K steps in a dispatch.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from train.shared.mesh import Compilation, compile_steps, replicated, state_sharding
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


def usual_steps_per_dispatch() -> int:
    """Returns one on a CPU, where a loop of convolutions runs at half the speed or less, and elsewhere 50.

    There a dispatch costs more than a small step.
    """
    return 1 if jax.default_backend() == "cpu" else 50


def resident(
    train_step: TrainStep,
    arrays: Any,
    order: Callable[[int], np.ndarray],
    state: TrainState,
    mesh: Mesh,
    *,
    compilation: Compilation = "jit",
    steps_per_dispatch: int | None = None,
) -> tuple[Advance, TrainState]:
    """Holds a data set on the devices and compiles steps that gather their batches there.

    Args:
        train_step: from `make_train_step`.
        arrays: a pytree of arrays [N, ...]; a batch is the same pytree of arrays [B, ...].
        order: the indices [B] of the examples of a step.
        state: the state before the run.
        mesh: from `make_mesh`.
        compilation: "pmap" wants a `train_step` made with `axis_name=PMAP_AXIS`.
        steps_per_dispatch: steps compiled into one program, at most; see `usual_steps_per_dispatch`.

    Returns:
        The function `(state, start, stop) -> (state, metrics)` that runs the steps from `start` to before `stop` and
        sums their metrics, and the state laid out on the mesh.
    """
    most = steps_per_dispatch or usual_steps_per_dispatch()
    sharding, whole = state_sharding(state, mesh), replicated(mesh)
    arrays, state = jax.device_put(arrays, whole), jax.device_put(state, sharding)

    def one(state: TrainState, indices: jax.Array, arrays: Any) -> tuple[TrainState, Metrics]:
        return train_step(state, jax.tree.map(lambda array: array[indices], arrays))

    def run(state: TrainState, arrays: Any, indices: jax.Array) -> tuple[TrainState, Metrics]:  # indices [K, B]
        if len(indices) == 1:
            return one(state, indices[0], arrays)
        state, metrics = jax.lax.scan(lambda state, indices: one(state, indices, arrays), state, indices)
        return state, jax.tree.map(lambda values: values.sum(0), metrics)

    compiled = compile_steps(run, sharding, mesh, compilation, axis=1)

    def advance(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        parts = []
        for first in range(start, stop, most):
            indices = np.stack([order(step) for step in range(first, min(first + most, stop))])
            state, metrics = compiled(state, arrays, indices)
            parts.append(metrics)
        return state, _added(parts)

    return advance, state


def streaming(
    train_step: TrainStep,
    batches: Callable[[int], Iterator[Any]],
    state: TrainState,
    mesh: Mesh,
    *,
    compilation: Compilation = "jit",
) -> tuple[Advance, TrainState]:
    """Compiles a step whose batches come from the host, each on its way to the devices while the step before runs.

    Args:
        train_step: from `make_train_step`.
        batches: the batches, pytrees of arrays [B, ...], of the steps from a given one on.
        state: the state before the run.
        mesh: from `make_mesh`.
        compilation: as for `resident`.

    Returns:
        As `resident` does.
    """
    sharding = state_sharding(state, mesh)
    compiled = compile_steps(lambda state, _, batch: train_step(state, batch), sharding, mesh, compilation, axis=0)
    ahead: dict[int, Iterator[Any]] = {}  # by the step that it stands at

    def advance(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        source = ahead.pop(start, None) or batches(start)
        parts = []
        for _ in range(start, stop):
            state, metrics = compiled(state, (), next(source))
            jax.block_until_ready(parts[-1:])  # or batches would pile up on the devices
            parts.append(metrics)
        ahead.clear()
        ahead[stop] = source
        return state, _added(parts)

    return advance, jax.device_put(state, sharding)


def _added(parts: list[Metrics]) -> Metrics:
    return jax.tree.map(lambda *values: sum(values), *jax.device_get(parts))
