"""Changes of the values of pixels, each channel by itself.

Pixels are from 0 to 1. What works on the 256 levels of a byte finds the level of a pixel as torchvision does. Shapes:
B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.augment.arguments import check_images, draw_chosen, per_image, where_chosen

LEVELS = 256


def solarize(images: jax.Array, threshold: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Inverts the pixels of each image that are at or above its threshold."""
    check_images(images)
    return jnp.where(images >= per_image("threshold", threshold, images), 1 - images, images)


def random_solarize(
    key: jax.Array, images: jax.Array, *, threshold: float = 0.5, probability: float = 0.5
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Inverts the bright pixels of images chosen with this probability (`RandomSolarize` of torchvision)."""
    return where_chosen(draw_chosen(key, images, probability), solarize(images, jnp.float32(threshold)), images)


def posterize(images: jax.Array, bits: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Keeps the highest bits of the byte of each pixel, as many as each image's number, from 0 to 8."""
    check_images(images)
    step = jnp.exp2(8 - per_image("bits", bits, images).astype(jnp.float32))
    return (jnp.floor(_levels(images) / step) * step / (LEVELS - 1)).astype(images.dtype)


def autocontrast(images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Stretches each channel of each image to reach from 0 to 1; an even one is left."""
    check_images(images)
    lowest, highest = (reduce(images, (1, 2), keepdims=True) for reduce in (jnp.min, jnp.max))
    even = highest == lowest
    stretched = (images - jnp.where(even, 0, lowest)) / jnp.where(even, 1, highest - lowest)
    return jnp.clip(stretched, 0, 1).astype(images.dtype)


def equalize(images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Maps the levels of each channel of each image so that they are about equally frequent, as Pillow does."""
    check_images(images)
    batch, height, width, channels = images.shape
    levels = jnp.moveaxis(_levels(images).astype(jnp.int32), -1, 0).reshape(channels, batch, height * width)
    # One flat index: on a CPU XLA's scatter is ten times as fast with one as with several.
    planes = jnp.arange(channels * batch).reshape(channels, batch, 1)
    counts = jnp.zeros(channels * batch * LEVELS, jnp.int32)
    counts = counts.at[(planes * LEVELS + levels).ravel()].add(1, mode="promise_in_bounds")
    counts = counts.reshape(channels, batch, LEVELS)
    brightest = jnp.max(jnp.where(counts > 0, jnp.arange(LEVELS), 0), -1, keepdims=True)
    step = (height * width - jnp.take_along_axis(counts, brightest, -1)) // (LEVELS - 1)  # [C, B, 1]
    below = jnp.cumsum(counts, -1) - counts
    table = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), LEVELS - 1)
    table = jnp.where(step == 0, jnp.arange(LEVELS), table).astype(jnp.float32) / (LEVELS - 1)
    # A loop over the channels, so that XLA does not compute the table anew for each pixel.
    look_up = lambda plane: jnp.take_along_axis(*plane, 1, mode="promise_in_bounds")
    equalized = lax.map(look_up, (table, levels)).reshape(channels, batch, height, width)
    return jnp.moveaxis(equalized, 0, -1).astype(images.dtype)


def _levels(images: jax.Array) -> jax.Array:
    return jnp.floor(jnp.clip(images, 0, 1).astype(jnp.float32) * (LEVELS - 1e-3))
