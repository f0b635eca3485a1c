"""Which seeds there are."""

LARGEST_SEED = 2**63 - 1
"""That `jax.random.key` takes."""
LARGEST_NUMPY_SEED = 2**32 - 1
"""That `numpy.random.RandomState` takes."""


def check_seed(seed: int, largest: int = LARGEST_SEED) -> None:
    """Raises ValueError for a --seed below 0, or above the largest."""
    if seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {seed}")
    if seed > largest:
        raise ValueError(f"--seed must be {largest} or less, got {seed}")
