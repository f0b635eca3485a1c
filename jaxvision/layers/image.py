"""The checks every model makes of the images it is given.

Shapes: B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp


def check_image(image: jax.Array, in_channels: int, *, size: int | None = None, at_least: int = 1) -> None:
    """Raises ValueError or TypeError where a batch of images cannot be what a model expects.

    Args:
        image: [B, H, W, C], floating, as preprocessing gives it.
        in_channels: the C expected.
        size: the one H and W the model can take; None where any will do.
        at_least: the smallest H and W the model can take.
    """
    if image.ndim != 4:
        raise ValueError(f"images must have the shape [batch, height, width, channels], got {image.shape}")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"images must be preprocessed to a floating type, got {image.dtype}")
    if image.shape[-1] != in_channels:
        raise ValueError(
            f"the model takes images of {in_channels} channels (in_channels={in_channels}), got the shape {image.shape}"
        )
    if size is not None and image.shape[1:3] != (size, size):
        raise ValueError(f"the model takes images of {size}x{size} pixels alone, got {image.shape[1]}x{image.shape[2]}")
    if 0 in image.shape[1:3]:
        raise ValueError(f"images must have at least one pixel, got the shape {image.shape}")
    if min(image.shape[1:3]) < at_least:
        raise ValueError(
            f"the model takes images of {at_least}x{at_least} pixels or more, got {image.shape[1]}x{image.shape[2]}"
        )
