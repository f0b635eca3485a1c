"""Cases of captioners that are compared with PyTorch's cells and a loop over the caption."""

import numpy as np

from tests.reference.random_values import stream

IMAGE, FEATURES = (5, 4, 2), 3  # height, width, channels; a convolution of stride 2 makes 3x2 places of them
VOCABULARY_SIZE, HIDDEN, EMBEDDING, IMAGES, STEPS = 5, 4, 3, 3, 4
CASES = {
    "start": {"cell": "lstm", "num_layers": 2, "conditioning": "start", "frozen": False},
    "every": {"cell": "rnn", "num_layers": 1, "conditioning": "every", "frozen": False},
    "attention": {"cell": "lstm", "num_layers": 2, "conditioning": "attention", "frozen": False},
    "attention, frozen": {"cell": "gru", "num_layers": 1, "conditioning": "attention", "frozen": True},
}


def images(case: str) -> np.ndarray:  # -> [B, H, W, C]
    """Returns the images of a case."""
    return stream(f"{case}, images").standard_normal((IMAGES, *IMAGE))


def tokens(case: str) -> np.ndarray:  # -> [B, T + 1]
    """Returns their captions."""
    return stream(f"{case}, tokens").randint(0, VOCABULARY_SIZE, (IMAGES, STEPS + 1))


def weights(case: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights of a case, by PyTorch's names."""
    drawn = {name: 0.7 * stream(f"{case}, {name}").standard_normal(shape) for name, shape in shapes.items()}
    return {name: np.abs(value) if name.endswith("var") else value for name, value in drawn.items()}
