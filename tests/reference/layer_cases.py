"""Cases of pooling and normalisation that are compared with PyTorch's. Shapes: [B, H, W, C]."""

import numpy as np

from tests.reference.random_values import stream

ADAPTIVE = {  # shape, size of the result
    "adaptive, same": ((2, 6, 6, 3), (6, 6)),
    "adaptive, divides": ((2, 14, 6, 3), (7, 3)),
    "adaptive, overlaps": ((2, 13, 10, 3), (7, 6)),
    "adaptive, larger": ((2, 2, 3, 3), (7, 6)),
    "adaptive, one axis": ((2, 5, 9, 3), (5, 4)),
    "adaptive, global": ((2, 5, 4, 3), (1, 1)),
}
CEIL = {  # shape, kind
    "max, even": ((2, 8, 6, 3), "max"),
    "max, mixed": ((2, 7, 2, 3), "max"),
    "average, even": ((2, 8, 6, 3), "average"),
    "average, mixed": ((2, 7, 2, 3), "average"),
}
RESPONSE = {  # shape, options of our function
    "response, paper": ((2, 3, 2, 11), {"size": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75}),
    "response, strong": ((2, 3, 2, 11), {"size": 5, "k": 0.5, "alpha": 0.3, "beta": 1.25}),
    "response, even size": ((2, 2, 2, 7), {"size": 4, "k": 1.0, "alpha": 0.2, "beta": 0.75}),
    "response, few channels": ((2, 2, 2, 2), {"size": 5, "k": 1.0, "alpha": 0.2, "beta": 0.5}),
}


def image(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the input of a case, float64; squares of about 100 make the paper's alpha count."""
    return stream(name).standard_normal(shape) * 10
