"""Augmentations: pure functions of a key and a batch of images, compiled with the training step.

Shapes: B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


def affine(images: jax.Array, matrices: jax.Array) -> jax.Array:  # [B, H, W, C], [B, 2, 3] -> [B, H, W, C]
    """Warps each image by an affine map about its centre, bilinearly, with zeros outside.

    Args:
        images: [B, H, W, C], floating.
        matrices: [B, 2, 3], from the (row, column) of an output pixel, counted from the centre, to that of the input.
    """
    height, width = images.shape[1:3]
    rows, columns = jnp.mgrid[:height, :width]
    center = jnp.array([[(height - 1) / 2], [(width - 1) / 2]])
    grid = jnp.stack([rows.ravel(), columns.ravel()]) - center  # [2, H W]

    def warp(image, matrix):  # [H, W, C], [2, 3] -> [H, W, C]
        source = jnp.matmul(matrix[:, :2], grid, precision="highest") + matrix[:, 2:] + center
        sample = lambda channel: map_coordinates(channel, source, order=1)
        return jax.vmap(sample, -1, -1)(image).reshape(image.shape)

    return jax.vmap(warp)(images, matrices)


def random_affine(
    key: jax.Array, images: jax.Array, *, degrees: float, translate: float, scale: tuple[float, float]
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Rotates, moves and scales each image by amounts drawn uniformly.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        degrees: rotations are drawn from [-degrees, degrees].
        translate: moves are drawn from [-translate, translate], a share of the height and of the width.
        scale: factors are drawn from this interval.
    """
    batch, height, width = images.shape[:3]
    angle_key, move_key, scale_key = jax.random.split(key, 3)
    angle = jnp.deg2rad(jax.random.uniform(angle_key, (batch,), minval=-degrees, maxval=degrees))
    factor = jax.random.uniform(scale_key, (batch,), minval=scale[0], maxval=scale[1])
    move = jax.random.uniform(move_key, (batch, 2), minval=-translate, maxval=translate)
    cosine, sine = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    rotation = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], 1)  # [B, 2, 2]
    shift = move * jnp.array([height, width])
    return affine(images, jnp.concatenate([rotation, shift[:, :, None]], -1))


def random_crop(key: jax.Array, images: jax.Array, *, size: int) -> jax.Array:  # [B, H, W, C] -> [B, size, size, C]
    """Cuts a square out of each image, at a place drawn uniformly from those where it fits.

    Args:
        key: of the draw.
        images: [B, H, W, C], no side shorter than `size`.
        size: height and width of the squares.
    """
    batch, height, width, channels = images.shape
    corners = jax.random.randint(key, (batch, 2), 0, jnp.array([height - size + 1, width - size + 1]))
    crop = lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), (size, size, channels))
    return jax.vmap(crop)(images, corners)
