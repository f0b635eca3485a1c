"""The one scan over time, of recurrent layers and of decoders.

The gradients of weights and inputs are one matrix product each after the reverse scan: within it each step has the one
product that cannot be put off.

Shapes: B batch, T time, D input, H hidden units, G gates.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.layers.cells import RESET_FIRST, Cell, Gates, State

Matrix = tuple[jax.Array, jax.Array]  # kernel and bias
# Numbers of a kernel up to which one product is as fast as one for each gate: 1 MiB of float32, the cache of a core.
CACHE_SIZE = 2**18


class Scan(NamedTuple):
    """How a cell goes over time.

    Attributes:
        cell: the cell.
        reverse: from the last step to the first.
        unroll: steps of the scan that are compiled in a row.
    """

    cell: Cell
    reverse: bool
    unroll: int


def scan_over_time(
    scan: Scan, x: jax.Array, projection: Matrix, recurrent: Matrix, state: State, mask: jax.Array | None
) -> tuple[jax.Array, State]:
    """Runs a cell over time.

    On a CPU each step projects its input by itself, while it is in the cache: on one core of an AMD EPYC, for 32
    sequences of 128 steps and 256 units, an LSTM so takes 0.6 of the time that it takes after one product for all of
    them, and its gradient 0.8. Of a single sequence, and elsewhere, that product comes first.

    Args:
        scan: the cell and its direction.
        x: [B, T, D], inputs.
        projection: kernel [D, G H] and bias [G H], of the inputs.
        recurrent: kernel [H, G H] and bias [G H], of the state.
        state: before the first step, each [B, H].
        mask: bool [B, T], where there is a step; elsewhere the state stays as it is. None for everywhere.

    Returns:
        The output of every step, [B, T, H], and the state after the last.
    """
    if scan.cell != RESET_FIRST:
        return _scan_with_gathered_gradient(scan, x, projection, recurrent, state, mask)

    def body(state, at):
        gates = jnp.split(at[0], scan.cell.num_gates, -1)
        new = _where(at[1], scan.cell.step(gates, *recurrent, state), state)
        return new, new[0]

    by_time = jax.tree.map(lambda array: jnp.swapaxes(array, 0, 1), (_linear(x, projection), mask))
    last, outputs = lax.scan(body, state, by_time, reverse=scan.reverse, unroll=scan.unroll)
    return jnp.swapaxes(outputs, 0, 1), last


def _along_time(
    scan: Scan, step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any, *, backward: bool = False
) -> tuple[Any, Any]:
    """Is `lax.scan` over axis 1, of arrays [B, T, ...], which it reads and writes where they are.

    (`lax.scan` itself would copy them to have time first, and its outputs back: of an RNN of 128 units that is a third
    of the time.)

    Args:
        scan: the direction.
        step: `(carry, inputs [B, ...]) -> (carry, outputs [B, ...])`.
        carry: before the first step.
        inputs: [B, T, ...] each.
        backward: against the direction.

    Returns:
        The carry after the last step, and the outputs, [B, T, ...] each.
    """
    length = jax.tree.leaves(inputs)[0].shape[1]
    take = lambda time: jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, time, 1, keepdims=False), inputs)
    _, like = jax.eval_shape(lambda: step(carry, take(0)))
    outputs = jax.tree.map(lambda one: jnp.zeros_like(one, shape=(one.shape[0], length, *one.shape[1:])), like)

    def put(carry, time):
        carry, outputs = carry
        carry, new = step(carry, take(time))
        written = partial(lax.dynamic_update_index_in_dim, index=time, axis=1)
        return (carry, jax.tree.map(written, outputs, new)), None

    reverse = scan.reverse != backward
    return lax.scan(put, (carry, outputs), jnp.arange(length), reverse=reverse, unroll=scan.unroll)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_with_gathered_gradient(
    scan: Scan, x: jax.Array, projection: Matrix, recurrent: Matrix, state: State, mask: jax.Array | None
) -> tuple[jax.Array, State]:
    """Is `scan_over_time`, whose weights have their gradients from one product over all steps each."""
    outputs, last, _ = _run(scan, False, x, projection, recurrent, state, mask)
    return outputs, last


def _run(
    scan: Scan, keeps: bool, x: jax.Array, projection: Matrix, recurrent: Matrix, state: State, mask: jax.Array | None
) -> tuple[jax.Array, State, Any]:
    """Returns outputs, the last state, and for the gradient the states (but the output) and the gates of each step."""

    def steps(projects_each: bool, x, projection, recurrent, state, mask):
        inputs = x if projects_each else _linear(x, projection)
        gates_of = _gates(scan.cell, projection if projects_each else None, recurrent)

        def step(state, at):
            gates = gates_of(at[0], state[0])
            new = _where(at[1], scan.cell.step(gates, state), state)
            return new, (new[0], (state[1:], gates) if keeps else None)

        last, (outputs, kept) = _along_time(scan, step, state, (inputs, mask))
        return outputs, last, kept

    each, first = partial(steps, True), partial(steps, False)
    on_cpu = first if x.shape[0] == 1 else each
    return lax.platform_dependent(x, projection, recurrent, state, mask, cpu=on_cpu, default=first)


def _gates(cell: Cell, projection: Matrix | None, recurrent: Matrix) -> Callable[[jax.Array, jax.Array], Gates]:
    """Returns `(input, output) -> gates`, of [B, D], or [B, G H] where it is projected, and [B, H]: what steps take."""
    if projection is not None and not cell.num_apart:
        kernel, bias = jnp.concatenate([projection[0], recurrent[0]]), projection[1] + recurrent[1]
        parts = cell.num_gates if kernel.size > CACHE_SIZE else 1
        pairs = list(zip(jnp.split(kernel, parts, -1), jnp.split(bias, parts), strict=True))

        def joined(x, output):
            both = jnp.concatenate([x, output], -1)
            products = [_linear(both, pair) for pair in pairs]
            return tuple(gate for product in products for gate in jnp.split(product, cell.num_gates // parts, -1))

        return joined

    def gates(x, output):
        of_input = x if projection is None else _linear(x, projection)
        of_state = _linear(output, recurrent)
        of_input, of_state = (jnp.split(part, cell.num_gates, -1) for part in (of_input, of_state))
        sums = cell.num_gates - cell.num_apart
        added = [i + s for i, s in zip(of_input[:sums], of_state[:sums], strict=True)]
        return *added, *of_input[sums:], *of_state[sums:]

    return gates


def _linear(x: jax.Array, matrix: Matrix) -> jax.Array:  # [..., D] -> [..., G H]
    return x @ matrix[0] + matrix[1]


def _where(mask: jax.Array | None, new: State, old: State) -> State:
    return new if mask is None else tuple(jnp.where(mask[:, None], n, o) for n, o in zip(new, old, strict=True))


def _forward(
    scan: Scan, x: jax.Array, projection: Matrix, recurrent: Matrix, state: State, mask: jax.Array | None
) -> tuple[tuple[jax.Array, State], tuple]:
    outputs, last, (before, gates) = _run(scan, True, x, projection, recurrent, state, mask)
    return (outputs, last), (x, projection, recurrent, state[0], mask, outputs, before, gates)


def _backward(scan: Scan, saved: tuple, cotangents: tuple[jax.Array, State]) -> tuple:
    x, projection, recurrent, first, mask, outputs, before, gates = saved
    before = _shifted(outputs, first, scan.reverse), *before
    num_sums, transposed = scan.cell.num_gates - scan.cell.num_apart, recurrent[0].T

    def step(d_state, at):
        gates, before, mask, d_output = at
        d_state = (d_state[0] + d_output, *d_state[1:])
        one = lambda gates, state: _where(mask, scan.cell.step(gates, state), state)
        _, pull = jax.vjp(one, gates, before)
        d_gates, d_before = pull(d_state)
        d_sums, d_apart = d_gates[:num_sums], d_gates[num_sums:]
        of_input, of_state = d_apart[: scan.cell.num_apart], d_apart[scan.cell.num_apart :]
        d_recurrent = jnp.concatenate([*d_sums, *of_state], -1)
        return (d_before[0] + d_recurrent @ transposed, *d_before[1:]), (d_recurrent, of_input)

    at = (gates, before, mask, cotangents[0])
    d_first, (d_recurrent, apart) = _along_time(scan, step, cotangents[1], at, backward=True)
    sums = num_sums * first.shape[-1]
    d_projected = jnp.concatenate([d_recurrent[..., :sums], *apart], -1) if apart else d_recurrent
    of_weights = lambda x, d: (jnp.einsum("btd,btg->dg", x, d), d.sum((0, 1)))
    d_projection, d_recurrent = of_weights(x, d_projected), of_weights(before[0], d_recurrent)
    return d_projected @ projection[0].T, d_projection, d_recurrent, d_first, None


def _shifted(outputs: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:  # [B, T, H], [B, H] -> [B, T, H]
    """Returns the output before each step."""
    parts = [outputs[:, 1:], first[:, None]] if reverse else [first[:, None], outputs[:, :-1]]
    return jnp.concatenate(parts, 1)


_scan_with_gathered_gradient.defvjp(_forward, _backward)


def in_segments(
    scan: Scan,
    length: int,
    x: jax.Array,
    projection: Matrix,
    recurrent: Matrix,
    state: State,
    mask: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs a cell over time as `scan_over_time` does, keeping for the gradient the states between segments alone.

    Within a segment of `length` steps everything is computed again in the backward pass, the projections of its inputs
    too: of T steps, T / length states and the gates of one segment are held at a time
    (https://arxiv.org/abs/1604.06174). Arguments and results are those of `scan_over_time`.
    """
    batch, steps = x.shape[:2]
    missing = -steps % length
    mask = jnp.ones((batch, steps), bool) if mask is None else mask

    def cut(x: jax.Array) -> jax.Array:  # [B, T, ...] -> [segments, B, length, ...]
        x = jnp.pad(x, ((0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(batch, -1, length, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def segment(state, at):
        outputs, state = scan_over_time(scan, at[0], projection, recurrent, state, at[1])
        return state, outputs

    state, outputs = lax.scan(segment, state, (cut(x), cut(mask)), reverse=scan.reverse)
    return jnp.moveaxis(outputs, 0, 1).reshape(batch, -1, outputs.shape[-1])[:, :steps], state


def scan_module(
    step: Callable[..., tuple[Any, Any]], module: nn.Module, carry: Any, inputs: jax.Array
) -> tuple[Any, Any]:
    """Runs a module over time by a step of its own, as decoders do, which are given what they have just said.

    Args:
        step: `(module, carry, input) -> (carry, output)`, of arrays [B, ...]; its draws differ from step to step.
        module: bound; its parameters are those of every step.
        carry: before the first step.
        inputs: [B, T, ...].

    Returns:
        The carry after the last step, and the outputs, [B, T, ...] each.
    """
    draws = {"params": False, nn.DenyList("params"): True}
    over_time = nn.scan(step, variable_broadcast="params", split_rngs=draws, in_axes=1, out_axes=1)
    return over_time(module, carry, inputs)
