"""Cases of encoders and decoders that are compared with PyTorch's cells and a loop over the target."""

import numpy as np

from tests.reference.random_values import stream

SOURCE_SIZE, TARGET_SIZE, HIDDEN, EMBEDDING, STEPS = 6, 5, 4, 3, 5
LENGTHS = (6, 4, 1)
CASES = {
    "none": {"cell": "lstm", "num_layers": 2, "bidirectional": False, "attention": "none"},
    "additive": {"cell": "lstm", "num_layers": 2, "bidirectional": True, "attention": "additive"},
    "multiplicative": {"cell": "gru", "num_layers": 1, "bidirectional": True, "attention": "multiplicative"},
    "dot": {"cell": "gru", "num_layers": 2, "bidirectional": False, "attention": "dot"},
}


def source(case: str) -> np.ndarray:
    """Returns the sentences of a case, [B, S]."""
    return stream(f"{case}, source").randint(0, SOURCE_SIZE, (len(LENGTHS), max(LENGTHS)))


def target(case: str) -> np.ndarray:
    """Returns their translations, [B, T + 1]."""
    return stream(f"{case}, target").randint(0, TARGET_SIZE, (len(LENGTHS), STEPS + 1))


def weights(case: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights of a case, by PyTorch's names."""
    return {name: 0.7 * stream(f"{case}, {name}").standard_normal(shape) for name, shape in shapes.items()}
