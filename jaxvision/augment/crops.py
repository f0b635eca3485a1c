"""Crops, and what follows from where they lie.

Boxes are (top, left, height, width) in whole pixels. Shapes: B batch, H height, W width, C channels, h and w of the
result, T taps.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.augment.arguments import Interval, Size, as_pair, check_at_least, check_images, check_interval
from jaxvision.ops.resample import Method, resampling_matrix, resampling_taps

TRIES = 10  # draws of a box before giving up, as torchvision


def crop(images: jax.Array, corners: jax.Array, size: Size) -> jax.Array:  # [B, H, W, C], [B, 2] -> [B, h, w, C]
    """Cuts a window out of each image.

    Args:
        images: [B, H, W, C].
        corners: [B, 2], (top, left) of the windows, int; they are moved inside where they reach over the edge.
        size: height and width of the windows, or one number for both.

    Raises:
        ValueError: windows larger than the images.
    """
    check_images(images)
    height, width = as_pair(size)
    if height > images.shape[1] or width > images.shape[2]:
        raise ValueError(f"cannot cut {height}x{width} pixels out of images of {images.shape[1]}x{images.shape[2]}")
    window = lambda image, corner: lax.dynamic_slice(image, (*corner, 0), (height, width, image.shape[-1]))
    return jax.vmap(window)(images, corners)


def random_crop(key: jax.Array, images: jax.Array, *, size: Size, padding: int = 0) -> jax.Array:
    """Cuts a window out of each image at a random place, after padding with zeros (`RandomCrop` of torchvision).

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        size: height and width of the windows, or one number for both.
        padding: pixels added on every side.

    Returns:
        [B, h, w, C].

    Raises:
        ValueError: a negative padding, or windows larger than the padded images.
    """
    check_images(images)
    check_at_least("padding", padding, 0)
    height, width = as_pair(size)
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    room = jnp.array([padded.shape[1] - height, padded.shape[2] - width])
    if height > padded.shape[1] or width > padded.shape[2]:
        raise ValueError(
            f"size {height}x{width} is larger than the images, with padding {padded.shape[1]}x{padded.shape[2]}"
        )
    return crop(padded, jax.random.randint(key, (len(images), 2), 0, room + 1), (height, width))


def crop_and_resize(
    images: jax.Array, boxes: jax.Array, size: Size, *, method: Method = "bilinear", antialias: bool = True
) -> jax.Array:  # [B, H, W, C], [B, 4] -> [B, h, w, C]
    """Cuts a box out of each image and resizes it, as torchvision's `resized_crop` does.

    Args:
        images: [B, H, W, C], floating.
        boxes: [B, 4], (top, left, height, width), whole numbers, inside the images.
        size: height and width of the result, or one number for both.
        method: "bilinear" or "bicubic"; bicubic may leave the range of the pixels and is not clipped.
        antialias: whether pixels are averaged where a box is made smaller.

    Raises:
        ValueError: an unknown method, a size below 1, or boxes of another shape.
    """
    check_images(images)
    if boxes.shape != (len(images), 4):
        raise ValueError(f"boxes must have the shape [{len(images)}, 4], one for each image, got {boxes.shape}")
    taps = [
        resampling_taps(side, boxes[:, axis], boxes[:, 2 + axis], out_side, method=method, antialias=antialias)
        for axis, (side, out_side) in enumerate(zip(images.shape[1:3], as_pair(size), strict=True))
    ]
    # A product with each image's matrices takes at least 3 times as long on a CPU; it is what a TPU is made for.
    resized = lax.platform_dependent(images, *taps, cpu=_gather, default=_multiply)
    return resized.astype(images.dtype)


def _gather(images: jax.Array, *taps: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Sums weighted rows, then weighted columns as rows of the image turned over, which XLA copies whole.

    One image at a time, which stays in the cache: a batch of 64 takes a third of the time.
    """

    def resize(one):
        image, *taps = one
        for indices, weights in taps:
            image = _sum_of_rows(image, indices, weights).swapaxes(0, 1)
        return image

    return lax.map(resize, (images, *taps))


def _sum_of_rows(image: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:  # [H, W, C], 2 x [h, T]
    def add(rows, tap):  # [h, W, C], 2 x [h]
        index, weight = tap
        return rows + weight[:, None, None] * image.at[index].get(mode="promise_in_bounds"), None

    # A loop, which nothing is fused with: else each pixel of the columns would sum rows, and find its taps, anew.
    rows = jnp.zeros((len(indices), *image.shape[1:]), jnp.result_type(image, weights))
    return lax.scan(add, rows, (indices.T, weights.T))[0]


def _multiply(images: jax.Array, *taps: tuple[jax.Array, jax.Array]) -> jax.Array:
    rows, columns = (
        resampling_matrix(*tap, size).astype(jnp.float32) for tap, size in zip(taps, images.shape[1:3], strict=True)
    )
    images = jnp.einsum("bhH,bHWc->bhWc", rows, images.astype(jnp.float32), precision="highest")
    return jnp.einsum("bwW,bhWc->bhwc", columns, images, precision="highest")


def random_resized_crop(
    key: jax.Array,
    images: jax.Array,
    *,
    size: Size,
    scale: Interval = (0.08, 1.0),
    ratio: Interval = (3 / 4, 4 / 3),
    method: Method = "bilinear",
    antialias: bool = True,
) -> jax.Array:  # [B, H, W, C] -> [B, h, w, C]
    """Cuts a box of random area and shape out of each image and resizes it (`RandomResizedCrop` of torchvision).

    Szegedy et al., https://arxiv.org/abs/1409.4842.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating.
        size: height and width of the result, or one number for both.
        scale: areas are drawn from this interval, as shares of the image's.
        ratio: width over height is drawn from this interval, evenly in its logarithm.
        method: "bilinear" or "bicubic"; bicubic is clipped to 0..1.
        antialias: whether pixels are averaged where a box is made smaller.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_images(images)
    check_interval("scale", scale, 0)
    size = as_pair(size)
    boxes = draw_crop_boxes(key, len(images), images.shape[1:3], scale, ratio)
    resized = crop_and_resize(images, boxes, size, method=method, antialias=antialias)
    return jnp.clip(resized, 0, 1) if method == "bicubic" else resized


def draw_crop_boxes(
    key: jax.Array, batch: int, size: tuple[int, int], scale: Interval, ratio: Interval
) -> jax.Array:  # -> [B, 4]
    """Draws boxes of random area and shape: the first that fits in ten tries, else the largest in the middle.

    Args:
        key: of the draw.
        batch: how many.
        size: height and width of the images.
        scale: of areas, as shares of the image's.
        ratio: of width over height.

    Returns:
        (top, left, height, width), int32.
    """
    (height, width), (shape_key, place_key) = size, jax.random.split(key)
    sides = draw_sides(shape_key, batch, height * width, scale, ratio)  # [B, TRIES, 2]
    fits = ((sides > 0) & (sides <= jnp.array(size))).all(-1)  # [B, TRIES]
    first = jnp.take_along_axis(sides, fits.argmax(1)[:, None, None], 1)[:, 0]
    narrowest, widest = min(ratio), max(ratio)
    if width / height < narrowest:
        largest = round(width / narrowest), width
    elif width / height > widest:
        largest = height, round(height * widest)
    else:
        largest = height, width
    sides = jnp.where(fits.any(1)[:, None], first, jnp.array(largest))
    room = jnp.array(size) - sides
    corners = jax.random.randint(place_key, (batch, 2), 0, room + 1)
    return jnp.concatenate([jnp.where(fits.any(1)[:, None], corners, room // 2), sides], 1)


def draw_sides(key: jax.Array, batch: int, area: int, scale: Interval, ratio: Interval) -> jax.Array:  # [B, TRIES, 2]
    """Draws heights and widths, int32, of boxes by their area and by width over height.

    Raises:
        ValueError: a ratio that is not positive.
    """
    check_interval("ratio", ratio)
    if not ratio[0] > 0:
        raise ValueError(f"ratio must be positive, got {ratio}")
    area_key, ratio_key = jax.random.split(key)
    areas = area * jax.random.uniform(area_key, (batch, TRIES), minval=scale[0], maxval=scale[1])
    logs = jax.random.uniform(ratio_key, (batch, TRIES), minval=math.log(ratio[0]), maxval=math.log(ratio[1]))
    ratios = jnp.exp(logs)
    return jnp.round(jnp.sqrt(jnp.stack([areas / ratios, areas * ratios], -1))).astype(jnp.int32)
