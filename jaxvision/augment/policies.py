"""AutoAugment, RandAugment and TrivialAugment: for each image one or more operations out of fourteen.

The operations, their magnitudes and signs are torchvision's. Shapes: B batch, H height, W width, C channels,
O operations, M steps of the magnitude.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.augment.arguments import check_at_least, check_images
from jaxvision.augment.color import adjust_brightness, adjust_contrast, adjust_saturation
from jaxvision.augment.filters import adjust_sharpness
from jaxvision.augment.geometry import Interpolation, affine
from jaxvision.augment.tone import autocontrast, equalize, posterize, solarize

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
GEOMETRIC = OPERATIONS[1:6]
KERNELS = ("geometric", *(name for name in OPERATIONS if name not in GEOMETRIC))
SIGNED = OPERATIONS[1:10]
Space = Literal["randaugment", "trivialaugment"]
AUTO_AUGMENT = (  # two operations in turn, each with its probability and its step, of ten, of RandAugment's magnitudes
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("solarize", 0.6, 9), ("equalize", 1.0, 0)),  # from 0 on: what the paper calls invert
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("solarize", 0.6, 9)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("solarize", 0.6, 9), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def magnitudes(space: Space, size: tuple[int, int], steps: int) -> np.ndarray:  # -> [O, M]
    """Returns the magnitudes of each operation, without sign, from none to the largest.

    Args:
        space: whose: RandAugment's, or the wide ones of TrivialAugment.
        size: height and width of the images; moves are in pixels.
        steps: M.
    """
    wide = space == "trivialaugment"
    height, width = (32.0, 32.0) if wide else (150 / 331 * side for side in size)
    largest = dict.fromkeys(OPERATIONS, 0.99 if wide else 0.9)
    shear = 0.99 if wide else 0.3
    largest |= {"shear_x": shear, "shear_y": shear, "translate_x": width, "translate_y": height}
    largest |= {"rotate": 135.0 if wide else 30.0, "identity": 0, "autocontrast": 0, "equalize": 0}
    rising = np.linspace(0, 1, steps, dtype=np.float32)
    table = np.array([largest[name] for name in OPERATIONS], np.float32)[:, None] * rising
    table[OPERATIONS.index("posterize")] = np.round(8 - (6 if wide else 4) * rising)  # bits that are kept
    table[OPERATIONS.index("solarize")] = 1 - rising  # the threshold
    return table


def apply_operations(
    images: jax.Array, operations: jax.Array, magnitude: jax.Array, *, interpolation: Interpolation = "nearest"
) -> jax.Array:  # [B, H, W, C], [B], [B] -> [B, H, W, C]
    """Applies to each image an operation of its own.

    Args:
        images: [B, H, W, C], floating, from 0 to 1, grey or RGB.
        operations: [B], indices in OPERATIONS.
        magnitude: [B], shears as slopes, moves in whole pixels (cut off), degrees, factors less 1, bits, a threshold.
        interpolation: of shears, moves and rotations, which leave zeros behind.

    Raises:
        ValueError: images neither grey nor RGB, or an unknown interpolation.
    """
    check_images(images, colors=True)
    matrices = affine_matrices(operations, magnitude, images.shape[1:3])
    kernels = jnp.array([KERNELS.index("geometric" if name in GEOMETRIC else name) for name in OPERATIONS])[operations]
    apply = functools.partial(_apply, interpolation=interpolation)
    # One image at a time computes one operation each: on a CPU a tenth of the time of all ten for all images. On
    # accelerators, where each step of a loop waits for its launch, all are computed and one is kept.
    return lax.platform_dependent(
        kernels,
        images,
        magnitude,
        matrices,
        cpu=lambda *batch: lax.map(lambda one: apply(*one), batch),
        default=jax.vmap(apply),
    )


def _apply(
    kernel: jax.Array, image: jax.Array, magnitude: jax.Array, matrix: jax.Array, *, interpolation: Interpolation
) -> jax.Array:  # [], [H, W, C], [], [2, 3] -> [H, W, C]
    amount, image, matrix = magnitude[None], image[None], matrix[None]
    branches = {
        "geometric": lambda: affine(image, matrix, interpolation=interpolation),
        "identity": lambda: image,
        "brightness": lambda: adjust_brightness(image, 1 + amount),
        "color": lambda: adjust_saturation(image, 1 + amount),
        "contrast": lambda: adjust_contrast(image, 1 + amount),
        "sharpness": lambda: adjust_sharpness(image, 1 + amount),
        "posterize": lambda: posterize(image, jnp.trunc(amount)),
        "solarize": lambda: solarize(image, amount),
        "autocontrast": lambda: autocontrast(image),
        "equalize": lambda: equalize(image),
    }
    return lax.switch(kernel, [branches[name] for name in KERNELS])[0]


def affine_matrices(
    operations: jax.Array, magnitude: jax.Array, size: tuple[int, int]
) -> jax.Array:  # [B], [B] -> [B, 2, 3]
    """Returns what `affine` takes, of the geometric operations; shears leave the upper left corner where it is."""
    amount = {name: jnp.where(operations == OPERATIONS.index(name), magnitude, 0) for name in GEOMETRIC}
    angle = jnp.deg2rad(amount["rotate"])
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    row_shift = amount["shear_y"] * size[1] / 2 - jnp.trunc(amount["translate_y"])
    column_shift = amount["shear_x"] * size[0] / 2 - jnp.trunc(amount["translate_x"])
    row = jnp.stack([cosine, sine + amount["shear_y"], row_shift], -1)
    column = jnp.stack([amount["shear_x"] - sine, cosine, column_shift], -1)
    return jnp.stack([row, column], 1)


def auto_augment(
    key: jax.Array, images: jax.Array, *, interpolation: Interpolation = "nearest"
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Applies to each image one of the 25 pairs of operations found for ImageNet (`AutoAugment` of torchvision).

    Cubuk et al., https://arxiv.org/abs/1805.09501, table 9.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating, from 0 to 1, grey or RGB.
        interpolation: "nearest" or "bilinear".

    Raises:
        ValueError: images neither grey nor RGB, or an unknown interpolation.
    """
    check_images(images, colors=True)
    for operations, magnitude in draw_pairs(key, len(images), images.shape[1:3]):
        images = apply_operations(images, operations, magnitude, interpolation=interpolation)
    return images


def draw_pairs(key: jax.Array, batch: int, size: tuple[int, int]) -> list[tuple[jax.Array, jax.Array]]:
    """Draws a pair of AUTO_AUGMENT for each image, and of the two what is applied; the others are the identity.

    Args:
        key: of the draw.
        batch: B.
        size: height and width of the images.

    Returns:
        Operations [B] and their magnitudes [B], of the first and of the second.
    """
    table = magnitudes("randaugment", size, 10)
    pair_key, *keys = jax.random.split(key, 3)
    pair = jax.random.randint(pair_key, (batch,), 0, len(AUTO_AUGMENT))
    drawn = []
    for each, rows in zip(keys, zip(*AUTO_AUGMENT, strict=True), strict=True):
        names, probabilities, steps = zip(*rows, strict=True)
        kinds = np.array([OPERATIONS.index(name) for name in names])
        choice_key, sign_key = jax.random.split(each)
        applied = jax.random.bernoulli(choice_key, jnp.array(probabilities)[pair])
        operations = jnp.where(applied, jnp.asarray(kinds)[pair], OPERATIONS.index("identity"))
        drawn.append((operations, _signed(sign_key, operations, jnp.asarray(table[kinds, steps])[pair])))
    return drawn


def rand_augment(
    key: jax.Array,
    images: jax.Array,
    *,
    num_operations: int = 2,
    magnitude: int = 9,
    steps: int = 31,
    interpolation: Interpolation = "nearest",
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Applies to each image random operations one after another, all of one magnitude (`RandAugment` of torchvision).

    Cubuk et al., https://arxiv.org/abs/1909.13719.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating, from 0 to 1, grey or RGB.
        num_operations: on each image.
        magnitude: which step, from 0 to steps - 1.
        steps: of the magnitude, from none to the largest.
        interpolation: "nearest" or "bilinear".

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_at_least("num_operations", num_operations, 0)
    check_at_least("steps", steps, 2)
    if not 0 <= magnitude < steps:
        raise ValueError(f"magnitude must be from 0 to steps - 1 = {steps - 1}, got {magnitude}")
    table = magnitudes("randaugment", images.shape[1:3], steps)[:, magnitude : magnitude + 1]
    for each in jax.random.split(key, num_operations) if num_operations else ():
        images = apply_operations(images, *draw_operations(each, len(images), table), interpolation=interpolation)
    return images


def trivial_augment(
    key: jax.Array, images: jax.Array, *, steps: int = 31, interpolation: Interpolation = "nearest"
) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    """Applies to each image one random operation of random magnitude (`TrivialAugmentWide` of torchvision).

    Müller and Hutter, https://arxiv.org/abs/2103.10158.

    Args:
        key: of the draw.
        images: [B, H, W, C], floating, from 0 to 1, grey or RGB.
        steps: of the magnitude, from none to the largest.
        interpolation: "nearest" or "bilinear".

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    check_at_least("steps", steps, 2)
    table = magnitudes("trivialaugment", images.shape[1:3], steps)
    return apply_operations(images, *draw_operations(key, len(images), table), interpolation=interpolation)


def draw_operations(key: jax.Array, batch: int, table: np.ndarray) -> tuple[jax.Array, jax.Array]:  # -> [B], [B]
    """Draws an operation and one of its magnitudes for each image; shears to sharpness are as often negative as not.

    Args:
        key: of the draw.
        batch: B.
        table: [O, M], of magnitudes.
    """
    operation_key, step_key, sign_key = jax.random.split(key, 3)
    operations = jax.random.randint(operation_key, (batch,), 0, len(OPERATIONS))
    magnitude = jnp.asarray(table)[operations, jax.random.randint(step_key, (batch,), 0, table.shape[1])]
    return operations, _signed(sign_key, operations, magnitude)


def _signed(key: jax.Array, operations: jax.Array, magnitude: jax.Array) -> jax.Array:  # 2 x [B] -> [B]
    signed = jnp.array([name in SIGNED for name in OPERATIONS])[operations]
    negative = signed & jax.random.bernoulli(key, 0.5, operations.shape)
    return jnp.where(negative, -magnitude, magnitude)
