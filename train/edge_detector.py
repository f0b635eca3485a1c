"""Learns an edge filter from what it does: `python -m train.edge_detector --filter sobel`.

The numbers of a convolution's kernel are parameters. From a photograph and the same photograph filtered, gradient
descent finds the kernel that makes the one into the other, which nobody told it. Shapes: H height, W width, h and w of
a kernel.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from jaxvision.ops import filters
from train.data.photograph import grey, read_photo
from train.shared.run import exit_on
from train.shared.seeds import check_seed

FilterName = Literal["vertical", "horizontal", "prewitt", "sobel", "scharr", "laplacian"]
FILTERS: Mapping[FilterName, np.ndarray] = {
    "vertical": filters.vertical_edges(),
    "horizontal": filters.horizontal_edges(),
    "prewitt": filters.prewitt(1),
    "sobel": filters.sobel(1),
    "scharr": filters.scharr(1),
    "laplacian": filters.laplacian(),
}
"""Known filters [3, 3]; those that have an axis find vertical edges."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Learn a 3x3 edge filter by gradient descent."""

    filter: FilterName = "sobel"
    """The filter to find again."""
    photo: Path | None = None
    """Image file; by default a photograph that scikit-learn brings."""
    steps: int = 400
    """Of gradient descent, each over the whole photograph; a soft one takes more."""
    seed: int = 0
    """Of the kernel that it begins with."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.steps < 1:
            raise ValueError(f"--steps must be 1 or more, got {self.steps}")
        check_seed(self.seed)


def check_photo(path: Path | None, image: np.ndarray, kernel: np.ndarray) -> None:  # [H, W], [h, w]
    """Raises ValueError for a photograph in which the filter does not lie."""
    if min(image.shape) < len(kernel):
        raise ValueError(f"--photo {path} is smaller than the filter of {kernel.shape}: {image.shape}")


def learn_filter(
    image: np.ndarray, filtered: np.ndarray, *, steps: int = 400, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:  # [H, W], [H - h + 1, W - w + 1] -> [h, w], [steps]
    """Finds the kernel that makes one image into another, by gradient descent with momentum on the squared error.

    What learns is a convolutional layer with one filter: a kernel, and a bias, which takes up the mean of the image.

    Args:
        image: [H, W].
        filtered: what `correlate` with the unknown kernel makes of it, where the kernel lies inside.
        steps: of the descent.
        seed: of the kernel that it begins with.

    Returns:
        The kernel, and before each step the mean squared error as a share of the mean square of `filtered`.

    Raises:
        ValueError: the image is the same everywhere, or the filtered one zero: that tells nothing.
    """
    shape = tuple(whole - part + 1 for whole, part in zip(image.shape, filtered.shape, strict=True))
    if image.std() == 0 or not filtered.any():
        raise ValueError("nothing can be learnt from an image that is the same everywhere")
    deviation, scale = image.std(), np.sqrt((filtered**2).mean())
    normalized, target = (image - image.mean()) / deviation, filtered / scale
    # Half the error of pixels with deviation 1 curves by h w at most; plain descent would diverge at twice this rate.
    # Neighbouring pixels are nearly equal, so that it curves hundreds of times less other ways: hence the momentum.
    optimizer = optax.sgd(1 / math.prod(shape), momentum=0.9)

    def half_error(layer):
        return ((filters.correlate(normalized, layer["kernel"]) + layer["bias"] - target) ** 2).mean() / 2

    @jax.jit
    def step(layer, state):
        error, gradient = jax.value_and_grad(half_error)(layer)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(layer, updates), state, 2 * error

    layer, errors = {"kernel": jax.random.normal(jax.random.key(seed), shape), "bias": jnp.zeros(())}, []
    state = optimizer.init(layer)
    for _ in range(steps):
        layer, state, error = step(layer, state)
        errors.append(error)
    return np.asarray(layer["kernel"]) * (scale / deviation), np.array(errors)


def main() -> None:
    """Learns the filter that the command line names, and prints it beside the known one."""
    options = tyro.cli(Options, prog="python -m train.edge_detector")
    known = FILTERS[options.filter]
    with exit_on(ValueError, OSError):
        image = grey(read_photo(options.photo))
        check_photo(options.photo, image, known)
        learnt, errors = learn_filter(
            image, np.asarray(filters.correlate(image, known)), steps=options.steps, seed=options.seed
        )
    for title, kernel in (("learnt", learnt), (f"{options.filter}, as it is known", known)):
        print(f"{title}:")
        print("\n".join(" ".join(f"{value:10.5f}" for value in row) for row in kernel))
    print(f"largest error {np.abs(learnt - known).max():.2g}, after {len(errors)} steps")


if __name__ == "__main__":
    main()
