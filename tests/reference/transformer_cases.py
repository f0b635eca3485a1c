"""Cases of the parts of Transformers that are compared with PyTorch's. Sequences are [B, N, D]."""

import numpy as np

from tests.reference.random_values import stream

BATCH, QUERIES, KEYS, DIM, HEADS, HIDDEN = 2, 5, 7, 12, 3, 20
LENGTHS = (7, 4)  # of the keys
GRIDS = {  # resizing, tokens before those of the grid, h and w of the old grid and of the new
    "torchvision, larger": ("torchvision", 1, (4, 4), (7, 7)),
    "torchvision, smaller": ("torchvision", 1, (6, 6), (4, 4)),
    "timm, larger": ("timm", 2, (4, 4), (7, 5)),
    "timm, smaller": ("timm", 1, (7, 7), (3, 4)),
    "transformers, larger": ("transformers", 1, (4, 4), (6, 9)),
    "transformers, smaller": ("transformers", 1, (7, 7), (3, 5)),
}
ENCODERS = {"norm first": True, "norm last": False}
ATTENTION = ("cross", "self, causal")
BUCKETS = {"buckets, causal": (False, 32, 128), "buckets, both sides": (True, 20, 50)}  # both sides, number, distance
DISTANCES = np.arange(-200, 201)  # of the query from the key


def array(name: str, *shape: int) -> np.ndarray:
    """Returns a random input, float64."""
    return stream(name).standard_normal(shape)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns random weights by PyTorch's names."""
    return {name: 0.5 * stream(name).standard_normal(shape) for name, shape in shapes.items()}


def positions(case: str) -> np.ndarray:
    """Returns learnt positions, float32 [1, P + h w, D]."""
    _, num_prefix, (height, width), _ = GRIDS[case]
    return array(case, 1, num_prefix + height * width, DIM).astype(np.float32)
