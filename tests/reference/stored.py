"""The stored results of reference implementations: of each tensor its size and three numbers that depend on all of it.

A file holds the number of parameters of the model as published, the keys and shapes of its state dict (at the number
of classes compared), its logits, and a fingerprint of every other tensor: the root mean square, and projections on
random directions scaled so that each is about as large as the root mean square, and changes by about the root mean
square of any difference.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.reference.random_values import stream

FOLDER = Path(__file__).parent
NUM_PROJECTIONS = 3
ZERO = 1e-12  # root mean square of what is zero but for rounding, as the gradient of a bias before a BatchNorm
SIZE_OF_ZERO = 1e-5  # what errors of such a tensor are relative to


@dataclasses.dataclass(frozen=True)
class Results:
    """What a reference implementation computes.

    Attributes:
        count: of the parameters, at the published number of classes.
        shapes: by key of the state dict.
        logits: [B, K].
        fingerprints: [1 + NUM_PROJECTIONS] by name of the tensor.
    """

    count: int
    shapes: Mapping[str, tuple[int, ...]]
    logits: np.ndarray
    fingerprints: Mapping[str, np.ndarray]


def fingerprint(name: str, tensor: np.ndarray) -> np.ndarray:  # -> [1 + NUM_PROJECTIONS]
    """Returns the root mean square of a tensor and its projections on the random directions that belong to its name."""
    flat = np.asarray(tensor, np.float64).ravel()
    directions = stream(name)
    projections = [directions.uniform(-1, 1, flat.size) @ flat for _ in range(NUM_PROJECTIONS)]
    rms = np.sqrt(np.mean(np.square(flat)))
    return np.array([rms, *np.sqrt(3 / flat.size) * np.array(projections)])


def disagreements(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float
) -> dict[str, float]:
    """Returns the relative errors of the tensors whose fingerprints are not within the tolerance of those expected."""
    assert set(tensors) == set(expected), sorted(set(tensors) ^ set(expected))
    errors = {name: relative_error(name, tensors[name], expected[name]) for name in expected}
    return {name: error for name, error in errors.items() if not error <= tolerance}  # NaN is a disagreement too


def relative_error(name: str, tensor: np.ndarray, expected: np.ndarray) -> float:
    """Returns how far the fingerprint of a tensor is from the one expected, relative to the tensor's size."""
    return float(np.abs(fingerprint(name, tensor) - expected).max() / size(expected))


def size(expected: np.ndarray) -> float:  # [1 + NUM_PROJECTIONS]
    """Returns what the errors of a tensor of this fingerprint are relative to."""
    return expected[0] if expected[0] > ZERO else SIZE_OF_ZERO


def write(path: Path, results: Results) -> None:
    """Writes results, to be read by `read`."""
    path.parent.mkdir(exist_ok=True)
    keys = "\n".join(" ".join([key, *map(str, shape)]) for key, shape in results.shapes.items())
    np.savez_compressed(
        path,
        count=results.count,
        shapes=np.bytes_(keys),
        logits=results.logits,
        names=np.bytes_("\n".join(results.fingerprints)),
        fingerprints=np.stack(list(results.fingerprints.values())),
    )


def read(path: Path) -> Results:
    """Reads what `write` wrote."""
    with np.load(path) as file:
        lines = [line.split(" ") for line in file["shapes"].item().decode().split("\n")]
        names = file["names"].item().decode().split("\n")
        return Results(
            count=int(file["count"]),
            shapes={key: tuple(map(int, shape)) for key, *shape in lines},
            logits=file["logits"],
            fingerprints=dict(zip(names, file["fingerprints"], strict=True)),
        )
