"""What attention and Transformers check of their fields, and of the shapes that they are given.

Shapes: B batch, T queries, S keys and values, H heads, d dimension of a head.
"""

import jax
import numpy as np


def check_counts(**fields: int) -> None:
    """Raises ValueError where a field, given by its name, is no whole number of 1 or more."""
    for name, count in fields.items():
        if not isinstance(count, int | np.integer):
            raise ValueError(f"{name} must be a whole number, got {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be 1 or more, got {count}")


def check_rates(**fields: float) -> None:
    """Raises ValueError where a field, given by its name, is no share that may be dropped: from 0 to below 1."""
    for name, rate in fields.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} must be from 0 to below 1, got {rate}")


def check_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
) -> None:
    """Raises where attention cannot be of arrays of these shapes.

    Args:
        query, key, value, mask, bias: see `jaxvision.layers.attention.dot_product_attention`.

    Raises:
        TypeError: the mask is not of bool, or not of four axes.
        ValueError: shapes that do not fit.
    """
    if mask is not None and (mask.dtype != np.bool_ or mask.ndim != 4):
        raise TypeError(f"mask must be of bool, [B, H, T, S] or 1 in place of them; got {mask.dtype} {mask.shape}")
    fits = query.ndim == 4 and key.shape == value.shape == (query.shape[0], *key.shape[1:2], *query.shape[2:])
    if not fits:
        raise ValueError(
            f"query must be [B, T, H, d], key and value [B, S, H, d], got {query.shape}, {key.shape} and {value.shape}"
        )
    scores = query.shape[0], query.shape[2], query.shape[1], key.shape[1]
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None and (
            x.ndim != 4 or any(n not in (1, whole) for n, whole in zip(x.shape, scores, strict=True))
        ):
            raise ValueError(f"{name} must be [B, H, T, S], here {list(scores)}, or 1 in place of them, got {x.shape}")
