"""Cases of language models that are compared with PyTorch's layers."""

import numpy as np

from tests.reference.random_values import stream

VOCABULARY, HIDDEN, BATCH, STEPS = 7, 4, 3, 6
CASES = {
    "lstm": {"cell": "lstm", "num_layers": 2, "embedding": 5},
    "gru": {"cell": "gru", "num_layers": 1, "embedding": 0},
    "rnn": {"cell": "rnn", "num_layers": 2, "embedding": 3},
}


def tokens(case: str) -> np.ndarray:
    """Returns the text of a case, [B, T + 1]."""
    return stream(case).randint(0, VOCABULARY, (BATCH, STEPS + 1))


def initial_state(case: str) -> list[np.ndarray]:
    """Returns the state that a case begins with, float64 [L, B, H] each."""
    shape = (CASES[case]["num_layers"], BATCH, HIDDEN)
    return [stream(f"{case}, state {n}").standard_normal(shape) for n in range(1 + (case == "lstm"))]


def weights(case: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights of a case, by PyTorch's names."""
    return {name: 0.5 * stream(f"{case}, {name}").standard_normal(shape) for name, shape in shapes.items()}
