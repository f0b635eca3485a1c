"""What cuts pieces out of images, and what mixes images with each other.

Boxes are (top, left, height, width) in whole pixels. Mixing pairs each image with the one before it in the batch, which
is shuffled, as torchvision does. Shapes: B batch, H height, W width, C channels, K classes.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxvision.augment.arguments import (
    Interval,
    check_at_least,
    check_images,
    check_interval,
    draw_chosen,
    per_image,
)
from jaxvision.augment.crops import draw_sides


def erase(images: jax.Array, boxes: jax.Array, value: jax.Array | float = 0.0) -> jax.Array:
    """Puts a value in place of the pixels in a box of each image.

    Args:
        images: [B, H, W, C], floating.
        boxes: [B, 4], (top, left, height, width); they may reach over the edge, or hold nothing.
        value: anything that broadcasts to [B, H, W, C].

    Returns:
        [B, H, W, C].

    Raises:
        ValueError: boxes of another shape.
    """
    check_images(images)
    return jnp.where(_inside(boxes, images), jnp.asarray(value, images.dtype), images)


def _inside(boxes: jax.Array, images: jax.Array) -> jax.Array:  # [B, 4], [B, H, W, C] -> [B, H, W, 1]
    if boxes.shape != (len(images), 4):
        raise ValueError(f"boxes must have the shape [{len(images)}, 4], one for each image, got {boxes.shape}")
    top, left, height, width = (side[:, None] for side in boxes.T)  # each [B, 1]
    rows, columns = jnp.arange(images.shape[1]), jnp.arange(images.shape[2])
    in_rows = (rows >= top) & (rows < top + height)  # [B, H]
    in_columns = (columns >= left) & (columns < left + width)  # [B, W]
    return (in_rows[:, :, None] & in_columns[:, None])[..., None]


def random_erasing(
    key: jax.Array,
    images: jax.Array,
    *,
    probability: float = 0.5,
    scale: Interval = (0.02, 0.33),
    ratio: Interval = (0.3, 3.3),
    value: jax.Array | float | Literal["random"] = 0.0,
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Erases a random box of images chosen with this probability (`RandomErasing` of torchvision).

    Zhong et al., https://arxiv.org/abs/1708.04896.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        probability: that a box is erased.
        scale: areas are drawn from this interval, as shares of the image's.
        ratio: height over width is drawn from this interval, evenly in its logarithm.
        value: of the erased pixels, or of each of their channels [C]; "random" for normal noise, which is meant for
            images already normalised.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_images(images)
    check_interval("scale", scale, 0, 1)
    box_key, choice_key, noise_key = jax.random.split(key, 3)
    boxes = draw_erased_boxes(box_key, len(images), images.shape[1:3], scale, ratio)
    boxes = boxes * draw_chosen(choice_key, images, probability)[:, None]
    return erase(images, boxes, jax.random.normal(noise_key, images.shape) if isinstance(value, str) else value)


def draw_erased_boxes(
    key: jax.Array, batch: int, size: tuple[int, int], scale: Interval, ratio: Interval
) -> jax.Array:  # -> [B, 4]
    """Draws boxes of random area and shape: the first in ten tries that is smaller than the image, else nothing.

    Args:
        key: of the draw.
        batch: how many.
        size: height and width of the images.
        scale: of areas, as shares of the image's.
        ratio: of height over width.

    Returns:
        (top, left, height, width), int32.
    """
    shape_key, place_key = jax.random.split(key)
    sides = draw_sides(shape_key, batch, size[0] * size[1], scale, ratio)[..., ::-1]  # [B, TRIES, 2]
    fits = (sides < jnp.array(size)).all(-1)
    sides = jnp.take_along_axis(sides, fits.argmax(1)[:, None, None], 1)[:, 0] * fits.any(1)[:, None]
    corners = jax.random.randint(place_key, (batch, 2), 0, jnp.array(size) - sides + 1)
    return jnp.concatenate([corners, sides], 1)


def cutout(key: jax.Array, images: jax.Array, *, size: int) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Erases a square about a random pixel of each image; it may reach over the edge.

    DeVries and Taylor, https://arxiv.org/abs/1708.04552.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        size: side of the square, in pixels.

    Raises:
        ValueError: a size below 1.
    """
    check_images(images)
    check_at_least("size", size, 1)
    centers = jax.random.randint(key, (len(images), 2), 0, jnp.array(images.shape[1:3]))
    return erase(images, jnp.concatenate([centers - size // 2, jnp.full_like(centers, size)], 1))


def mix(images: jax.Array, labels: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes each image, and its label, with the one before it.

    Args:
        images: [B, H, W, C], floating.
        labels: [B, K], floating: probabilities.
        weights: [B], the share that each image keeps.

    Returns:
        Images and labels of the same shapes.

    Raises:
        ValueError, TypeError: labels that are not probabilities for each image.
    """
    _check_labels(images, labels)
    weight = per_image("weights", weights, images)
    mixed = weight * images + (1 - weight) * jnp.roll(images, 1, 0)
    return mixed.astype(images.dtype), _mix_labels(labels, weight[:, 0, 0])


def mixup(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Mixes each image with the one before it, by a share of its own (`MixUp` of torchvision draws one for a batch).

    Zhang et al., https://arxiv.org/abs/1710.09412.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        labels: [B, K], floating: probabilities.
        alpha: the share is drawn from Beta(alpha, alpha).

    Returns:
        Images and labels of the same shapes.

    Raises:
        ValueError, TypeError: labels that are not probabilities for each image, or an alpha that is not positive.
    """
    _check_labels(images, labels)
    return mix(images, labels, draw_share(key, len(images), alpha))


def paste(images: jax.Array, labels: jax.Array, boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pastes into each image a box of the one before it, and mixes their labels by the areas.

    Args:
        images: [B, H, W, C], floating.
        labels: [B, K], floating: probabilities.
        boxes: [B, 4], (top, left, height, width), inside the images.

    Returns:
        Images and labels of the same shapes.

    Raises:
        ValueError, TypeError: labels that are not probabilities for each image, or boxes of another shape.
    """
    _check_labels(images, labels)
    pasted = jnp.where(_inside(boxes, images), jnp.roll(images, 1, 0), images)
    kept = 1 - boxes[:, 2] * boxes[:, 3] / (images.shape[1] * images.shape[2])  # [B]
    return pasted, _mix_labels(labels, kept[:, None])


def cutmix(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Pastes into each image a box of the one before it (`CutMix` of torchvision draws one for a batch).

    Yun et al., https://arxiv.org/abs/1905.04899.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        labels: [B, K], floating: probabilities.
        alpha: the share to keep is drawn from Beta(alpha, alpha); the labels are mixed by the share in truth kept.

    Returns:
        Images and labels of the same shapes.

    Raises:
        ValueError, TypeError: labels that are not probabilities for each image, or an alpha that is not positive.
    """
    _check_labels(images, labels)
    share_key, center_key = jax.random.split(key)
    share = draw_share(share_key, len(images), alpha)
    centers = jax.random.randint(center_key, (len(images), 2), 0, jnp.array(images.shape[1:3]))
    return paste(images, labels, cutmix_boxes(share, centers, images.shape[1:3]))


def cutmix_boxes(share: jax.Array, centers: jax.Array, size: tuple[int, int]) -> jax.Array:  # [B], [B, 2] -> [B, 4]
    """Returns boxes of about the area 1 - share about pixels (row, column), cut off at the edges of the images.

    Args:
        share: [B], of the image that is kept.
        centers: [B, 2].
        size: height and width of the images.

    Returns:
        (top, left, height, width), int32.
    """
    sides = jnp.array(size)
    halves = (0.5 * jnp.sqrt(1 - share)[:, None] * sides).astype(jnp.int32)
    first, last = jnp.maximum(centers - halves, 0), jnp.minimum(centers + halves, sides)
    return jnp.concatenate([first, last - first], 1)


def draw_share(key: jax.Array, batch: int, alpha: float) -> jax.Array:  # -> [B]
    """Draws the share that each image keeps from Beta(alpha, alpha).

    Raises:
        ValueError: an alpha that is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    return jax.random.beta(key, alpha, alpha, (batch,))


def _mix_labels(labels: jax.Array, kept: jax.Array) -> jax.Array:  # [B, K], [B, 1] -> [B, K]
    return (kept * labels + (1 - kept) * jnp.roll(labels, 1, 0)).astype(labels.dtype)


def _check_labels(images: jax.Array, labels: jax.Array) -> None:
    check_images(images)
    if labels.ndim != 2 or len(labels) != len(images):
        raise ValueError(f"labels must have the shape [{len(images)}, classes], got {labels.shape}: one-hot them first")
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        raise TypeError(f"labels must be floating, probabilities of the classes, got {labels.dtype}")
