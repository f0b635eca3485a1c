"""Recurrent layers: RNN, LSTM and GRU as PyTorch defines them, and the one scan over time.

The projections of all inputs are one matrix product before the scan, and so is the gradient of the recurrent weights
after the reverse scan: within it each step has the one product that cannot be put off.

Shapes: B batch, T time, D input, H hidden units, G gates, L layers, S directions (1 or 2).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxvision.layers.cells import GRU_CELL, LSTM_CELL, RELU, RESET_FIRST, TANH, Cell, Gates, State
from jaxvision.layers.initializers import uniform


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
    inputs: Gates,
    kernel: jax.Array,
    bias: jax.Array,
    state: State,
    mask: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs a cell over time as `scan_over_time` does, keeping for the gradient the states between segments alone.

    Within a segment of `length` steps everything is computed again in the backward pass: of T steps, T / length states
    and one segment are held at a time, beside the projected inputs (https://arxiv.org/abs/1604.06174).
    """
    steps, batch = inputs[0].shape[:2]
    missing = -steps % length
    mask = jnp.ones((steps, batch), bool) if mask is None else mask
    cut = lambda x: jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))).reshape(-1, length, *x.shape[1:])

    @jax.checkpoint
    def segment(state, at):
        outputs, state = scan_over_time(scan, at[0], kernel, bias, state, at[1])
        return state, outputs

    state, outputs = lax.scan(segment, state, jax.tree.map(cut, (inputs, mask)), reverse=scan.reverse)
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


class Direction(nn.Module):
    """One layer in one direction.

    Attributes:
        scan: the cell and its direction.
        hidden: H.
        segment: see `Recurrent`.
        dtype: of the computation.
    """

    scan: Scan
    hidden: int
    segment: int | None
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, state: State, mask: jax.Array | None) -> tuple[jax.Array, State]:  # [T, B, D]
        """Returns the outputs [T, B, H] and the last state."""
        width, draw = self.scan.cell.num_gates * self.hidden, uniform(self.hidden**-0.5)
        options = {"dtype": self.dtype, "kernel_init": draw, "bias_init": draw}
        inputs = jnp.split(nn.Dense(width, **options, name="input")(x), self.scan.cell.num_gates, -1)
        recurrent = Weights(width, self.hidden, self.dtype, draw, name="hidden")
        run = scan_over_time if self.segment is None else lambda scan, *args: in_segments(scan, self.segment, *args)
        return run(self.scan, tuple(inputs), *recurrent(), state, mask)


class Weights(nn.Module):
    """The kernel and the bias of a linear layer that is applied elsewhere."""

    width: int
    inputs: int
    dtype: DTypeLike
    init: Callable

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns them in the type of the computation."""
        kernel = self.param("kernel", self.init, (self.inputs, self.width))
        bias = self.param("bias", self.init, (self.width,))
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class Recurrent(nn.Module):
    """Layers of cells over time, one upon the other, in one direction or both: what RNN, LSTM and GRU share.

    Attributes:
        hidden: H, units of each layer and direction.
        num_layers: L.
        bidirectional: whether each layer also runs from the last step to the first; outputs are joined.
        dropout: share of the outputs dropped between layers in training.
        learned_state: whether the initial state is learnt, where none is given, rather than zero.
        in_features: D of `example_input`, which reading weights goes by; None for `hidden`.
        unroll: steps of the scan that are compiled in a row.
        segment: steps between the states kept for the gradient, to bound its memory; None keeps all.
        dtype: of the computation; parameters are float32.
    """

    hidden: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    learned_state: bool = False
    in_features: int | None = None
    unroll: int = 1
    segment: int | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        state: State | None = None,
        *,
        lengths: jax.Array | None = None,
        reverse: bool = False,
        train: bool,
    ) -> tuple[jax.Array, State]:
        """Runs over sequences.

        Args:
            x: [B, T, D].
            state: to begin with, [L S, B, H] each, as it is returned; None for the initial one.
            lengths: int [B], steps of each sequence; those after them change no state, and their outputs are zero.
            reverse: from the last step to the first (both directions are exchanged).
            train: whether to drop outputs between layers.

        Returns:
            The outputs of the last layer, [B, T, S H], and the state after the last step of each sequence, which is
            the first one of a backward direction: [L S, B, H] each, layer by layer, forward before backward.

        Raises:
            ValueError: a shape that does not fit.
        """
        (batch, steps), directions = _checked(x), (False, True) if self.bidirectional else (False,)
        state = self._initial(batch) if state is None else state
        expected = (self.num_layers * len(directions), batch, self.hidden)
        if len(state) != self.cell.num_states or any(part.shape != expected for part in state):
            shapes = ", ".join(str(jnp.shape(part)) for part in state)
            raise ValueError(f"state must be {self.cell.num_states} arrays {expected}, got {shapes}")
        mask = None if lengths is None else jnp.arange(steps)[:, None] < lengths  # [T, B]
        x, last = jnp.swapaxes(x, 0, 1).astype(self.dtype), []
        for layer in range(self.num_layers):
            if layer:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            outputs = []
            for backward in directions:
                first = tuple(part[len(last)].astype(self.dtype) for part in state)
                scan = Scan(self.cell, backward != reverse, self.unroll)
                name = f"layer{layer + 1}_{'backward' if backward else 'forward'}"
                output, end = Direction(scan, self.hidden, self.segment, self.dtype, name=name)(x, first, mask)
                outputs.append(output if mask is None else jnp.where(mask[..., None], output, 0))
                last.append(end)
            x = jnp.concatenate(outputs, -1)
        return jnp.swapaxes(x, 0, 1), tuple(jnp.stack(parts) for parts in zip(*last, strict=True))

    def _initial(self, batch: int) -> State:
        rows = self.num_layers * (1 + self.bidirectional)
        if not self.learned_state:
            return (jnp.zeros((rows, batch, self.hidden), self.dtype),) * self.cell.num_states
        names = ("initial_hidden", "initial_cell")[: self.cell.num_states]
        learnt = [self.param(name, nn.initializers.zeros, (rows, self.hidden)) for name in names]
        return tuple(jnp.broadcast_to(part[:, None], (rows, batch, self.hidden)) for part in learnt)

    def torch_names(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns the name map of `torch.nn`, which has no learnt initial state."""
        if self.learned_state:
            return {}
        lines = {}
        for direction, suffix in {"forward": "", "backward": "_reverse"}.items():
            if suffix and not self.bidirectional:
                continue
            for ours, theirs in {"input": "ih", "hidden": "hh"}.items():
                lines[f"layer{{i}}_{direction}/{ours}"] = f"{{leaf}}_{theirs}_l{{i-1}}{suffix}"
        return {"torch": lines}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of one sequence of two steps."""
        return jax.ShapeDtypeStruct((1, 2, self.in_features or self.hidden), jnp.float32)


class RNN(Recurrent):
    """Vanilla recurrent layers: `torch.nn.RNN`.

    Attributes:
        nonlinearity: of every unit.
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return {"tanh": TANH, "relu": RELU}[self.nonlinearity]


class LSTM(Recurrent):
    """Long short-term memory: `torch.nn.LSTM`; its state is (h, c)."""

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return LSTM_CELL


class GRU(Recurrent):
    """Gated recurrent units: `torch.nn.GRU`.

    Attributes:
        reset: what is reset for the candidate: "after", what the recurrent weights give, as PyTorch and cuDNN have it;
            "before", the state itself, as the paper has it (https://arxiv.org/abs/1406.1078, equation 8).
    """

    reset: Literal["after", "before"] = "after"

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return {"after": GRU_CELL, "before": RESET_FIRST}[self.reset]


def _checked(x: jax.Array) -> tuple[int, int]:
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"sequences must be [B, T, D], at least one step of one number; got {x.shape}")
    return x.shape[0], x.shape[1]
