"""The checks and draws that augmentations share.

Shapes: B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

Interval = tuple[float, float]
Size = int | tuple[int, int]


def check_images(images: jax.Array, *, colors: bool = False) -> None:
    """Raises ValueError or TypeError where an array is no batch of images in floating point.

    Args:
        images: [B, H, W, C].
        colors: whether they must be grey or RGB.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have the shape [batch, height, width, channels], got {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating, from 0 to 1, got {images.dtype}")
    if 0 in images.shape[1:3]:
        raise ValueError(f"images must have at least one pixel, got the shape {images.shape}")
    if colors and images.shape[-1] not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, grey or RGB, got the shape {images.shape}")


def check_interval(name: str, interval: Interval, low: float = -float("inf"), high: float = float("inf")) -> None:
    """Raises ValueError where an option is no interval (lowest, highest) within [low, high]."""
    if not (len(interval) == 2 and low <= interval[0] <= interval[1] <= high):
        raise ValueError(f"{name} must be (lowest, highest) within [{low}, {high}], got {interval}")


def check_at_least(name: str, value: float, low: float) -> None:
    """Raises ValueError where an option is below what it may be."""
    if not value >= low:
        raise ValueError(f"{name} must be {low} or more, got {value}")


def as_pair(size: Size) -> tuple[int, int]:
    """Returns height and width of a size, of which one number stands for both.

    Raises:
        ValueError: a side below 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size must be 1 or more, got {size}")
    return height, width


def per_image(name: str, values: jax.Array, images: jax.Array) -> jax.Array:  # [B] or [] -> [B, 1, 1, 1]
    """Returns parameters in the shape that meets images.

    Raises:
        ValueError: neither one number for each image nor one for all.
    """
    if jnp.shape(values) not in ((), images.shape[:1]):
        raise ValueError(f"{name} must hold one number for each of {len(images)} images, got {jnp.shape(values)}")
    return jnp.broadcast_to(jnp.asarray(values), images.shape[:1])[:, None, None, None]


def draw_uniform(key: jax.Array, images: jax.Array, interval: Interval) -> jax.Array:  # -> [B]
    """Draws a number for each image."""
    return jax.random.uniform(key, images.shape[:1], minval=interval[0], maxval=interval[1])


def draw_chosen(key: jax.Array, images: jax.Array, probability: float) -> jax.Array:  # -> [B]
    """Draws for each image whether it is chosen.

    Raises:
        ValueError: a probability outside 0..1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be from 0 to 1, got {probability}")
    return jax.random.bernoulli(key, probability, images.shape[:1])


def where_chosen(chosen: jax.Array, changed: jax.Array, images: jax.Array) -> jax.Array:  # [B], 2 x [B, H, W, C]
    """Returns the changed images where they are chosen, the others as they were."""
    return jnp.where(chosen[:, None, None, None], changed, images)
