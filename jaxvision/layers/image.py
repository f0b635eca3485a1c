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


def renormalize(image: jax.Array) -> jax.Array:  # [B, H, W, 3]
    """Returns images, normalised with the means and deviations of ImageNet, normalised with 0.5 and 0.5 instead.

    This is what torchvision's GoogLeNet and Inception v3 do where `transform_input` is set.

    Raises:
        ValueError: the images have another number of channels than 3.
    """
    if image.shape[-1] != 3:
        raise ValueError(f"transform_input is for images of 3 channels, got the shape {image.shape}")
    mean, std = (jnp.asarray(values, image.dtype) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return image * (std / 0.5) + (mean - 0.5) / 0.5
