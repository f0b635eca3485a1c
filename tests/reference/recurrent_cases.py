"""Cases of recurrent layers that are compared with PyTorch's. Sequences are [B, T, D]."""

from itertools import product

import numpy as np

from tests.reference.random_values import stream

BATCH, STEPS, INPUTS, HIDDEN = 3, 7, 5, 4
LENGTHS = (7, 4, 2)
KINDS = {"RNN": {}, "RNN relu": {"nonlinearity": "relu"}, "LSTM": {}, "GRU": {}}
STACKS = {
    "one layer": {"num_layers": 1, "bidirectional": False},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
}
CASES = {f"{kind}, {stack}": (kind, stack) for kind, stack in product(KINDS, STACKS)}


def num_states(case: str) -> int:
    """Returns how many arrays the state of a case has."""
    return 2 if CASES[case][0] == "LSTM" else 1


def rows(case: str) -> int:
    """Returns the layers and directions of a case."""
    stack = STACKS[CASES[case][1]]
    return stack["num_layers"] * (1 + stack["bidirectional"])


def sequences(case: str) -> np.ndarray:
    """Returns the input of a case, float64."""
    return stream(case).standard_normal((BATCH, STEPS, INPUTS))


def initial_state(case: str) -> tuple[np.ndarray, ...]:
    """Returns the state that a case begins with."""
    shape = (rows(case), BATCH, HIDDEN)
    return tuple(stream(f"{case}, state {n}").standard_normal(shape) for n in range(num_states(case)))


def weights(case: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights of a case, by PyTorch's names."""
    return {name: 0.5 * stream(f"{case}, {name}").standard_normal(shape) for name, shape in shapes.items()}


def cotangents(case: str, output: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the outputs and each array of the last state are weighted with in the sum that is differentiated."""
    last = (rows(case), BATCH, HIDDEN)
    return stream(f"{case}, outputs").standard_normal(output), stream(f"{case}, last").standard_normal(last)
