"""Brightness, contrast, saturation, hue and grey.

Pixels are from 0 to 1; grey images have no saturation and no hue, and are left as they are by what would change these.
Shapes: B batch, H height, W width, C channels (1 or 3).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.augment.arguments import (
    Interval,
    check_at_least,
    check_images,
    check_interval,
    draw_chosen,
    per_image,
    where_chosen,
)

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to the digits that torchvision has
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# Of the RGB values, from 0 to 1, of ImageNet's training images, as published with
# https://github.com/facebookarchive/fb.resnet.torch: eigenvectors in columns.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def adjust_brightness(images: jax.Array, factor: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Multiplies each image by its factor and clips."""
    return blend(images, jnp.zeros((), images.dtype), factor)


def adjust_contrast(images: jax.Array, factor: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Moves each image away from the mean of its luma, or towards it: 0 makes it even, 1 leaves it, 2 doubles."""
    return blend(images, _mean_luma(images), factor)


def adjust_saturation(images: jax.Array, factor: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Moves each pixel away from its luma, or towards it: 0 makes it grey, 1 leaves it, 2 doubles."""
    return blend(images, luma(images), factor)


def adjust_hue(images: jax.Array, shift: jax.Array) -> jax.Array:  # [B, H, W, C], [B] -> [B, H, W, C]
    """Turns the hue of each image in HSV by a share of the whole circle, from -0.5 to 0.5."""
    check_images(images, colors=True)
    if images.shape[-1] == 1:
        return images
    shift = per_image("shift", shift, images)[..., 0]  # [B, 1, 1]
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma == 0, 1, chroma)
    sector = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = sector + 6 * shift

    def channel(offset):  # https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
        place = offset + turned
        place = place - 6 * jnp.floor(place / 6)  # jnp.mod, on a CPU, takes ten times as long as all else
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], -1).astype(images.dtype)


def to_grayscale(images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Puts the luma of each pixel in all of its channels."""
    return jnp.broadcast_to(luma(images), images.shape).astype(images.dtype)


def luma(images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, 1]
    """Returns the luma of each pixel; a grey one is its own.

    Raises:
        ValueError: images neither grey nor RGB.
    """
    check_images(images, colors=True)
    if images.shape[-1] == 1:
        return images
    return sum(weight * images[..., channel, None] for channel, weight in enumerate(LUMA))


def _mean_luma(images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, 1, 1, 1]
    check_images(images, colors=True)
    batch, height, width, channels = images.shape
    # Along whole rows, with the weights laid out like them: the mean of `luma` takes ten times as long on a CPU.
    weights = jnp.tile(jnp.array(LUMA if channels == 3 else (1.0,)), width) / (height * width)
    return (images.reshape(batch, height, -1) * weights).sum((1, 2))[:, None, None, None]


def blend(images: jax.Array, others: jax.Array, factor: jax.Array) -> jax.Array:  # [B, H, W, C], ..., [B]
    """Returns factor x images + (1 - factor) x others, clipped to 0..1, in the type of the images."""
    check_images(images, colors=True)
    factor = per_image("factor", factor, images)
    return jnp.clip(factor * images + (1 - factor) * others, 0, 1).astype(images.dtype)


def jitter(
    images: jax.Array, factors: jax.Array, order: jax.Array, *, with_hue: bool = True
) -> jax.Array:  # [B, H, W, C], [B, 4], [B, 4] -> [B, H, W, C]
    """Adjusts brightness, contrast, saturation and hue of each image, in an order of its own.

    Every order is three blends with the change of hue before, between or after them: six blends, of which three are by
    a factor of 1, and one hue for all images cost less than a branch for each.

    Args:
        images: [B, H, W, C], floating.
        factors: [B, 4], of brightness, contrast and saturation, and the shift of the hue.
        order: [B, 4], a permutation of 0..3 for each image: which of these comes first, second, ...
        with_hue: False leaves the hue as it is, whatever its shift.
    """
    check_images(images, colors=True)
    place = (order == HUE).argmax(1)  # [B]
    kinds = jnp.take_along_axis(order, jnp.argsort(order == HUE, axis=1, stable=True)[:, :3], 1)  # [B, 3]
    amounts = jnp.take_along_axis(factors, kinds, 1)
    if not with_hue:
        return _blends(images, kinds, amounts)
    before = jnp.arange(3) < place[:, None]
    images = _blends(images, kinds, jnp.where(before, amounts, 1))
    images = adjust_hue(images, factors[:, HUE])
    return _blends(images, kinds, jnp.where(before, 1, amounts))


def _blends(images: jax.Array, kinds: jax.Array, factors: jax.Array) -> jax.Array:  # [B, H, W, C], [B, 3], [B, 3]
    def apply(images, step):
        kind, factor = step[0][:, None, None, None], step[1]
        others = jnp.where(kind == CONTRAST, _mean_luma(images), luma(images))
        return blend(images, jnp.where(kind == BRIGHTNESS, 0, others), factor), None

    # A loop, so that XLA does not compute each blend anew for each use of it in the next.
    return lax.scan(apply, images, (kinds.T, factors.T))[0]


def color_jitter(
    key: jax.Array,
    images: jax.Array,
    *,
    brightness: float | Interval = 0.0,
    contrast: float | Interval = 0.0,
    saturation: float | Interval = 0.0,
    hue: float | Interval = 0.0,
    probability: float = 1.0,
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Changes brightness, contrast, saturation and hue by random amounts in random order (`ColorJitter`).

    Args:
        key: of the draw.
        images: [B, H, W, C], floating, from 0 to 1, grey or RGB.
        brightness: the factor is drawn from [max(0, 1 - brightness), 1 + brightness], or from the interval given.
        contrast: likewise.
        saturation: likewise.
        hue: the shift is drawn from [-hue, hue] or from the interval given, at most half a circle either way.
        probability: that an image is changed.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_images(images, colors=True)
    intervals = [
        _around_one("brightness", brightness),
        _around_one("contrast", contrast),
        _around_one("saturation", saturation),
        (-hue, hue) if isinstance(hue, int | float) else hue,
    ]
    check_interval("hue", intervals[HUE], -0.5, 0.5)
    draw_key, choice_key = jax.random.split(key)
    factors, order = draw_jitter(draw_key, len(images), intervals)
    changed = jitter(images, factors, order, with_hue=intervals[HUE] != (0, 0))
    return where_chosen(draw_chosen(choice_key, images, probability), changed, images)


def draw_jitter(
    key: jax.Array, batch: int, intervals: Sequence[Interval]
) -> tuple[jax.Array, jax.Array]:  # -> [B, 4], [B, 4]
    """Draws factors from four intervals, evenly, and an order of the four, as `jitter` takes them."""
    factor_key, order_key = jax.random.split(key)
    lowest, highest = jnp.array(intervals, jnp.float32).T
    factors = jax.random.uniform(factor_key, (batch, 4), minval=lowest, maxval=highest)
    return factors, jnp.argsort(jax.random.uniform(order_key, (batch, 4)), axis=1)


def _around_one(name: str, amount: float | Interval) -> Interval:
    if isinstance(amount, int | float):
        check_at_least(name, amount, 0)
        return max(0.0, 1 - amount), 1.0 + amount
    check_interval(name, amount, 0)
    return amount


def random_grayscale(key: jax.Array, images: jax.Array, *, probability: float = 0.1) -> jax.Array:
    """Makes each image grey with this probability, [B, H, W, C] -> [B, H, W, C] (`RandomGrayscale`)."""
    return where_chosen(draw_chosen(key, images, probability), to_grayscale(images), images)


def pca_color_shift(images: jax.Array, weights: jax.Array) -> jax.Array:  # [B, H, W, 3], [B, 3] -> [B, H, W, 3]
    """Adds to all pixels of each image weighted principal components of ImageNet's colours, each times its eigenvalue.

    The result is not clipped: it may leave 0..1 by a little.

    Raises:
        ValueError: images that are not RGB, or weights of another shape.
    """
    check_images(images)
    if images.shape[-1] != 3 or weights.shape != (len(images), 3):
        raise ValueError(f"takes images [B, H, W, 3] and weights [B, 3], got {images.shape} and {weights.shape}")
    components = jnp.array(EIGENVECTORS) * jnp.array(EIGENVALUES)  # [3 channels, 3 components]
    shifts = jnp.matmul(weights, components.T, precision="highest")
    return (images + shifts[:, None, None]).astype(images.dtype)


def random_pca_color_shift(key: jax.Array, images: jax.Array, *, std: float = 0.1) -> jax.Array:
    """Shifts the colours of each image along their principal components, as AlexNet's training did.

    Krizhevsky et al. 2012, section 4.1, https://papers.nips.cc/paper/4824.

    Args:
        key: of the draw.
        images: [B, H, W, 3], floating, from 0 to 1; the result, not clipped, may leave that by a little.
        std: standard deviation of the three normal weights.

    Raises:
        ValueError: images that are not RGB, or a negative standard deviation.
    """
    check_at_least("std", std, 0)
    return pca_color_shift(images, std * jax.random.normal(key, (len(images), 3)))
