"""Cases of classifiers of videos that are compared with PyTorch."""

import numpy as np

from tests.reference.captioner_cases import FEATURES, IMAGE, weights
from tests.reference.random_values import stream

__all__ = ["FEATURES", "IMAGE", "weights"]
LENGTHS, CLASSES, HIDDEN = (4, 1, 3), 3, 4
CASES = {
    "lstm": {"head_kind": "lstm", "num_layers": 2, "frozen": False},
    "lstm, frozen": {"head_kind": "lstm", "num_layers": 1, "frozen": True},
    "mean": {"head_kind": "mean", "num_layers": 1, "frozen": False},
}


def frames(case: str) -> np.ndarray:  # -> [B, T, H, W, C]
    """Returns the videos of a case; all have as many frames in memory."""
    return stream(f"{case}, frames").standard_normal((len(LENGTHS), max(LENGTHS), *IMAGE))


def labels(case: str) -> np.ndarray:  # -> [B]
    """Returns their classes."""
    return stream(f"{case}, labels").randint(0, CLASSES, len(LENGTHS))
