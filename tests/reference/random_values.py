"""Weights, images and labels that are the same on both sides of a comparison, so that none need storing.

Everything is drawn by `numpy.random.RandomState`, whose streams are frozen for ever, and is a float32 number whatever
precision it is then used in. Shapes: B batch, H height, W width, C channels.
"""

import math
import re
import zlib
from collections.abc import Mapping

import numpy as np

DAMPING = 0.2


def random_weights(shapes: Mapping[str, tuple[int, ...]], damped: str = "") -> dict[str, np.ndarray]:
    """Returns a tensor for each key of a PyTorch state dict, drawn from the key's own stream.

    Nothing is left at zero or one, where an error could hide, and activations keep their size from layer to layer.

    Args:
        shapes: by key.
        damped: pattern of the weights that close a residual branch. They are made small: branches that add as much as
            they are given would double the activations at every block, and drown the biases of the last ones.
    """
    weights = {key: _draw(key, shape) for key, shape in shapes.items()}
    return {key: DAMPING * w if damped and re.fullmatch(damped, key) else w for key, w in weights.items()}


def _draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = _bounds(key, shape)
    return stream(key).uniform(low, high, shape).astype(np.float32)


def _bounds(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    if key.endswith(("bias", "running_mean")) or ".bias_" in key:  # bias_ih_l0 of a recurrent layer
        return -0.3, 0.3
    if len(shape) == 1:  # running variance, or the scale of a normalisation
        return 0.5, 1.5
    bound = math.sqrt(6 / math.prod(shape[1:]))  # [O, I, H, W]: He et al., 2015, as a uniform distribution
    return -bound, bound


def random_images(batch_size: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns normally distributed images [B, C, H, W]."""
    return stream("images").standard_normal((batch_size, *shape)).astype(np.float32)


def random_labels(batch_size: int, num_classes: int) -> np.ndarray:
    """Returns class numbers [B]."""
    return stream("labels").randint(0, num_classes, batch_size)


def stream(name: str) -> np.random.RandomState:
    """Returns the generator that belongs to a name."""
    return np.random.RandomState(zlib.crc32(name.encode()))
