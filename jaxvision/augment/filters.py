"""Blur and sharpness.

Shapes: B batch, H height, W width, C channels, K taps of a kernel.
"""

import math

import jax
import jax.numpy as jnp

from jaxvision.augment.arguments import (
    Interval,
    check_images,
    check_interval,
    draw_chosen,
    draw_uniform,
    per_image,
    where_chosen,
)
from jaxvision.augment.color import blend


def gaussian_blur(images: jax.Array, sigma: jax.Array, *, kernel_size: int) -> jax.Array:  # [B, H, W, C], [B]
    """Blurs each image by a Gaussian of its own, cut off at the edge of the kernel; the edges of images reflect.

    Args:
        images: [B, H, W, C], floating.
        sigma: [B], standard deviations in pixels, positive.
        kernel_size: K, odd, in pixels; at most 2 H - 1 and 2 W - 1.

    Returns:
        [B, H, W, C].

    Raises:
        ValueError: an even kernel size, or one larger than the reflected image.
    """
    check_images(images)
    dtype, radius = images.dtype, kernel_size // 2
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    if radius >= min(images.shape[1:3]):
        raise ValueError(f"kernel_size {kernel_size} is too large for images of {images.shape[1]}x{images.shape[2]}")
    distances = jnp.arange(-radius, radius + 1) / per_image("sigma", sigma, images)[:, 0, 0]  # [B, K]
    weights = jax.nn.softmax(-0.5 * distances**2)
    # On a CPU sums of shifted images take half the time of products with banded matrices.
    for axis in (1, 2):
        images = _sum_of_shifted(images, weights, axis)
    return images.astype(dtype)


def _sum_of_shifted(images: jax.Array, weights: jax.Array, axis: int) -> jax.Array:  # [B, H, W, C], [B, K]
    """Correlates along one axis, the axes before it and from it on laid flat so that the shifted parts are long."""
    shape, taps = images.shape, weights.shape[1]
    padding = [(taps // 2, taps // 2) if a == axis else (0, 0) for a in range(4)]
    flat = jnp.pad(images, padding, mode="reflect").reshape(shape[0], math.prod(shape[1:axis]), -1)
    stride, length = math.prod(shape[axis + 1 :]), math.prod(shape[axis:])
    shifted = (weights[:, k, None, None] * flat[:, :, k * stride : k * stride + length] for k in range(taps))
    return sum(shifted).reshape(shape)


def random_gaussian_blur(
    key: jax.Array,
    images: jax.Array,
    *,
    kernel_size: int,
    sigma: Interval = (0.1, 2.0),
    probability: float = 1.0,
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Blurs images by Gaussians of random width (`GaussianBlur` of torchvision).

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        kernel_size: odd, in pixels.
        sigma: standard deviations, in pixels, are drawn from this interval.
        probability: that an image is blurred.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_images(images)
    check_interval("sigma", sigma)
    if not sigma[0] > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    sigma_key, choice_key = jax.random.split(key)
    blurred = gaussian_blur(images, draw_uniform(sigma_key, images, sigma), kernel_size=kernel_size)
    return where_chosen(draw_chosen(choice_key, images, probability), blurred, images)


def adjust_sharpness(images: jax.Array, factor: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Moves each image away from a smoothed one, or towards it: 0 smooths, 1 leaves it, 2 sharpens; as Pillow does.

    Each pixel is smoothed with its eight neighbours, itself five times as heavy; those at the edges are not.
    """
    check_images(images, colors=True)
    height, width = images.shape[1:3]
    if min(height, width) < 3:
        return images
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    neighbourhood = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]  # [B, H-2, W-2, C]
    smooth = (neighbourhood + 4 * images[:, 1:-1, 1:-1]) / 13
    return blend(images, images.at[:, 1:-1, 1:-1].set(smooth), factor)
