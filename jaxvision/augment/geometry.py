"""Rotations, moves, scales, shears and flips.

Shapes: B batch, H height, W width, C channels.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxvision.augment.arguments import (
    Interval,
    check_at_least,
    check_images,
    check_interval,
    draw_chosen,
    where_chosen,
)

Interpolation = Literal["nearest", "bilinear"]


def horizontal_flip(images: jax.Array, flipped: jax.Array) -> jax.Array:  # [B, H, W, C], bool [B] -> [B, H, W, C]
    """Turns left and right over in the images chosen."""
    check_images(images)
    return where_chosen(flipped, images[:, :, ::-1], images)


def random_horizontal_flip(key: jax.Array, images: jax.Array, *, probability: float = 0.5) -> jax.Array:
    """Turns left and right over in each image with this probability, [B, H, W, C] -> [B, H, W, C]."""
    return horizontal_flip(images, draw_chosen(key, images, probability))


def affine(
    images: jax.Array, matrices: jax.Array, *, interpolation: Interpolation = "bilinear"
) -> jax.Array:  # [B, H, W, C], [B, 2, 3] -> [B, H, W, C]
    """Warps each image by an affine map about its centre, with zeros outside.

    Args:
        images: [B, H, W, C], floating.
        matrices: [B, 2, 3], from the (row, column) of an output pixel, counted from the centre, to that of the input.
        interpolation: "bilinear", or "nearest", which rounds halves to the even pixel.

    Raises:
        ValueError: an unknown interpolation, or matrices of another shape.
    """
    check_images(images)
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"interpolation must be nearest or bilinear, got {interpolation!r}")
    if matrices.shape != (len(images), 2, 3):
        raise ValueError(f"matrices must have the shape [{len(images)}, 2, 3], got {matrices.shape}")
    return (_bilinear if interpolation == "bilinear" else _nearest)(images, matrices).astype(images.dtype)


def _bilinear(images: jax.Array, matrices: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]
    rows, columns = jnp.mgrid[:height, :width]
    center = jnp.array([[(height - 1) / 2], [(width - 1) / 2]])
    grid = jnp.stack([rows.ravel(), columns.ravel()]) - center  # [2, H W]

    def warp(image, matrix):  # [H, W, C], [2, 3] -> [H, W, C]
        source = jnp.matmul(matrix[:, :2], grid, precision="highest") + matrix[:, 2:] + center
        sample = lambda channel: map_coordinates(channel, source, order=1)
        return jax.vmap(sample, -1, -1)(image).reshape(image.shape)

    return jax.vmap(warp)(images, matrices)


def _nearest(images: jax.Array, matrices: jax.Array) -> jax.Array:
    batch, height, width, channels = images.shape
    rows, columns = jnp.arange(height)[:, None] - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2
    of_row, of_column, shift = jnp.moveaxis(matrices[:, :, None, None], -1, 0)  # each [B, 2, 1, 1]
    source = of_row * rows + of_column * columns + shift + jnp.array([[height - 1], [width - 1]])[..., None] / 2
    row, column = jnp.round(source).astype(jnp.int32).swapaxes(0, 1)  # each [B, H, W]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    pixels = images.reshape(batch, height * width, channels)
    taken = jnp.take_along_axis(pixels, flat.reshape(batch, -1, 1), 1, mode="promise_in_bounds")
    return inside[..., None].astype(images.dtype) * taken.reshape(images.shape)


def random_affine(
    key: jax.Array, images: jax.Array, *, degrees: float, translate: float, scale: Interval
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Rotates, moves and scales each image by amounts drawn uniformly.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        degrees: rotations are drawn from [-degrees, degrees].
        translate: moves are drawn from [-translate, translate], a share of the height and of the width.
        scale: factors are drawn from this interval.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_images(images)
    check_at_least("degrees", degrees, 0)
    check_at_least("translate", translate, 0)
    check_interval("scale", scale)
    if not scale[0] > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    batch, height, width = images.shape[:3]
    angle_key, move_key, scale_key = jax.random.split(key, 3)
    angle = jnp.deg2rad(jax.random.uniform(angle_key, (batch,), minval=-degrees, maxval=degrees))
    factor = jax.random.uniform(scale_key, (batch,), minval=scale[0], maxval=scale[1])
    move = jax.random.uniform(move_key, (batch, 2), minval=-translate, maxval=translate)
    cosine, sine = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    rotation = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], 1)  # [B, 2, 2]
    shift = move * jnp.array([height, width])
    return affine(images, jnp.concatenate([rotation, shift[:, :, None]], -1))
