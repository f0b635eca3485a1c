"""One step of a recurrent layer, without its matrix products: RNN, LSTM and GRU as PyTorch defines them.

Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014, https://arxiv.org/abs/1406.1078. Shapes: B batch, H hidden
units, G gates.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

State = tuple[jax.Array, ...]  # the output first: (h,), or (h, c) of an LSTM
Gates = tuple[jax.Array, ...]  # [..., B, H] each


class Cell(NamedTuple):
    """One step of a recurrent layer, without its matrix products.

    Attributes:
        num_gates: G.
        num_states: arrays that a state is made of.
        step: `(gates, state) -> state`, elementwise; gates, [B, H] each, are sums of what the input gives and what the
            state gives. (That of RESET_FIRST takes other arguments: it holds products too.)
        num_apart: how many of them, the last, are no sums: the step takes what the input gives, and then what the state
            gives.
    """

    num_gates: int
    num_states: int
    step: Callable[..., State]
    num_apart: int = 0


def _rnn_step(activation: Callable, gates: Gates, state: State) -> State:
    return (activation(gates[0]),)


def _lstm_step(gates: Gates, state: State) -> State:
    enter, forget, candidate, leave = gates
    cell = jax.nn.sigmoid(forget) * state[1] + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def _gru_step(gates: Gates, state: State) -> State:
    reset, update, candidate, candidate_h = gates
    new = jnp.tanh(candidate + jax.nn.sigmoid(reset) * candidate_h)
    return (new + jax.nn.sigmoid(update) * (state[0] - new),)


def _gru_step_resetting_first(
    inputs: Gates, kernel: jax.Array, bias: jax.Array, state: State
) -> State:  # 3 x [B, H], [H, 3 H], [3 H]
    """The step of the original GRU, which resets the state before the product that makes the candidate."""
    width = 2 * state[0].shape[-1]
    reset, update = jnp.split(state[0] @ kernel[:, :width] + bias[:width], 2, -1)
    reset, update = jax.nn.sigmoid(inputs[0] + reset), jax.nn.sigmoid(inputs[1] + update)
    new = jnp.tanh(inputs[2] + (reset * state[0]) @ kernel[:, width:] + bias[width:])
    return (new + update * (state[0] - new),)


RELU, TANH = (Cell(1, 1, partial(_rnn_step, activation)) for activation in (jax.nn.relu, jnp.tanh))
LSTM_CELL, GRU_CELL = Cell(4, 2, _lstm_step), Cell(3, 1, _gru_step, num_apart=1)
RESET_FIRST = Cell(3, 1, _gru_step_resetting_first)
