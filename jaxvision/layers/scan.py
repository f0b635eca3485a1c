"""The one scan over time, of recurrent layers and of decoders.

The gradient of the recurrent weights is one matrix product after the reverse scan: within it each step has the one
product that cannot be put off.

Shapes: B batch, T time, H hidden units, G gates.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.layers.cells import RESET_FIRST, Cell, Gates, State


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
    scan: Scan, inputs: Gates, kernel: jax.Array, bias: jax.Array, state: State, mask: jax.Array | None
) -> tuple[jax.Array, State]:
    """Runs a cell over time.

    Args:
        scan: the cell and its direction.
        inputs: the projected inputs, G x [T, B, H].
        kernel: [H, G H], the recurrent weights.
        bias: [G H], of the product of state and kernel.
        state: before the first step, each [B, H].
        mask: bool [T, B], where there is a step; elsewhere the state stays as it is. None for everywhere.

    Returns:
        The output of every step, [T, B, H], and the state after the last.
    """
    if scan.cell != RESET_FIRST:
        return _scan_with_gathered_gradient(scan, inputs, kernel, bias, state, mask)

    def body(state, at):
        new = _where(at[1], scan.cell.step(at[0], kernel, bias, state), state)
        return new, new[0]

    last, outputs = lax.scan(body, state, (inputs, mask), reverse=scan.reverse, unroll=scan.unroll)
    return outputs, last


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_with_gathered_gradient(
    scan: Scan, inputs: Gates, kernel: jax.Array, bias: jax.Array, state: State, mask: jax.Array | None
) -> tuple[jax.Array, State]:
    """Is `scan_over_time`, whose recurrent weights have their gradient from one product over all steps."""

    def body(state, at):
        new, _ = _advance(scan.cell, *at, kernel, bias, state)
        return new, new[0]

    last, outputs = lax.scan(body, state, (inputs, mask), reverse=scan.reverse, unroll=scan.unroll)
    return outputs, last


def _advance(cell: Cell, inputs: Gates, mask: jax.Array | None, kernel: jax.Array, bias: jax.Array, state: State):
    """Returns the state after a step, and the gates: the sum of what inputs and state give, or what the state gives."""
    gates = tuple(jnp.split(state[0] @ kernel + bias, cell.num_gates, -1))
    if cell.is_sum:
        gates = tuple(of_input + of_state for of_input, of_state in zip(inputs, gates, strict=True))
    parts = (gates,) if cell.is_sum else (inputs, gates)
    return _where(mask, cell.step(*parts, state), state), gates


def _where(mask: jax.Array | None, new: State, old: State) -> State:
    return new if mask is None else tuple(jnp.where(mask[:, None], n, o) for n, o in zip(new, old, strict=True))


def _forward(scan: Scan, inputs: Gates, kernel: jax.Array, bias: jax.Array, state: State, mask: jax.Array | None):
    def body(state, at):
        new, gates = _advance(scan.cell, *at, kernel, bias, state)
        return new, (new, gates)

    last, (states, gates) = lax.scan(body, state, (inputs, mask), reverse=scan.reverse, unroll=scan.unroll)
    return (states[0], last), (None if scan.cell.is_sum else inputs, kernel, state, mask, states, gates)


def _backward(scan: Scan, saved: tuple, cotangents: tuple[jax.Array, State]) -> tuple:
    inputs, kernel, first, mask, states, gates = saved
    before = tuple(_shifted(s, f, scan.reverse) for s, f in zip(states, first, strict=True))
    parts = (gates,) if scan.cell.is_sum else (inputs, gates)

    def body(d_state, at):
        parts, before, mask, d_output = at
        d_state = (d_state[0] + d_output, *d_state[1:])
        _, pull = jax.vjp(lambda parts, state: _where(mask, scan.cell.step(*parts, state), state), parts, before)
        d_parts, d_before = pull(d_state)
        return (d_before[0] + jnp.concatenate(d_parts[-1], -1) @ kernel.T, *d_before[1:]), d_parts

    at = (parts, before, mask, cotangents[0])
    d_first, d_parts = lax.scan(body, cotangents[1], at, reverse=not scan.reverse, unroll=scan.unroll)
    d_gates = jnp.concatenate(d_parts[-1], -1)  # [T, B, G H]
    d_kernel = jnp.einsum("tbh,tbg->hg", before[0], d_gates)
    return d_parts[0], d_kernel, d_gates.sum((0, 1)), d_first, None


def _shifted(states: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:  # [T, B, H], [B, H] -> [T, B, H]
    """Returns the state before each step."""
    parts = [states[1:], first[None]] if reverse else [first[None], states[:-1]]
    return jnp.concatenate(parts)


_scan_with_gathered_gradient.defvjp(_forward, _backward)


def in_segments(
    scan: Scan,
    length: int,
    x: jax.Array,
    projection: tuple[jax.Array, jax.Array],
    recurrent: tuple[jax.Array, jax.Array],
    state: State,
    mask: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs a cell over time as `scan_over_time` does, keeping for the gradient the states between segments alone.

    Within a segment everything is computed again in the backward pass, the projections of its inputs too: of T steps,
    T / length states and the gates of one segment are held at a time (https://arxiv.org/abs/1604.06174).

    Args:
        scan: the cell and its direction.
        length: steps of a segment.
        x: [T, B, D], inputs.
        projection: kernel [D, G H] and bias [G H], of the inputs.
        recurrent: kernel [H, G H] and bias [G H], of the state.
        state, mask: as of `scan_over_time`.

    Returns:
        What it returns.
    """
    steps, batch = x.shape[:2]
    missing = -steps % length
    mask = jnp.ones((steps, batch), bool) if mask is None else mask
    cut = lambda x: jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))).reshape(-1, length, *x.shape[1:])

    @jax.checkpoint
    def segment(state, at):
        x, mask = at
        inputs = tuple(jnp.split(x @ projection[0] + projection[1], scan.cell.num_gates, -1))
        outputs, state = scan_over_time(scan, inputs, *recurrent, state, mask)
        return state, outputs

    state, outputs = lax.scan(segment, state, (cut(x), cut(mask)), reverse=scan.reverse)
    return outputs.reshape(-1, *outputs.shape[2:])[:steps], state


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
