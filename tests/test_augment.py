"""Augmentations against SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxvision.augment import affine, random_affine, random_crop

IMAGES = np.random.RandomState(0).rand(3, 9, 12, 2).astype(np.float32)


def test_affine_is_scipys():
    random = np.random.RandomState(1)
    matrices = np.eye(2, 3) + 0.2 * random.randn(3, 2, 3)
    center = (np.array(IMAGES.shape[1:3]) - 1) / 2
    found = affine(jnp.asarray(IMAGES), jnp.asarray(matrices, jnp.float32))
    for image, matrix, ours in zip(IMAGES, matrices, found, strict=True):
        offset = matrix[:, 2] + center - matrix[:, :2] @ center
        for channel in range(2):
            # "grid-constant": beyond the edge the image goes on as zeros, and is interpolated with them
            expected = ndimage.affine_transform(
                image[:, :, channel], matrix[:, :2], offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(ours[:, :, channel], expected, atol=2e-5)


def test_a_turn_by_ninety_degrees_a_move_and_a_scale():
    square = jnp.asarray(IMAGES[:, :9, :9])
    turned = affine(square, jnp.tile(jnp.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]), (3, 1, 1)))
    np.testing.assert_allclose(turned, np.rot90(square, -1, (1, 2)), atol=1e-5)
    moved = affine(square, jnp.tile(jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]), (3, 1, 1)))
    np.testing.assert_allclose(moved[:, :7, 1:], square[:, 2:, :8], atol=1e-5)
    np.testing.assert_array_equal(moved[:, 7:], 0)


def test_draws_stay_in_their_ranges_and_follow_the_key():
    options = {"degrees": 15.0, "translate": 0.1, "scale": (0.8, 1.25)}
    draw = lambda seed: random_affine(jax.random.key(seed), jnp.asarray(IMAGES), **options)
    np.testing.assert_array_equal(draw(0), draw(0))
    assert not np.allclose(draw(0), draw(1))
    still = random_affine(jax.random.key(0), jnp.asarray(IMAGES), degrees=0.0, translate=0.0, scale=(1.0, 1.0))
    np.testing.assert_allclose(still, IMAGES, atol=1e-6)
    # A plane r + 2 c is mapped to a plane: its slopes tell the angle and the scale that were drawn.
    rows, columns = np.mgrid[:41, :41] - 20.0
    planes = jnp.asarray(np.tile(np.stack([rows, columns], -1), (64, 1, 1, 1)), jnp.float32)
    moved = np.asarray(random_affine(jax.random.key(2), planes, **options))[:, 15:26, 15:26]
    slopes = np.stack([np.diff(moved, axis=axis).mean((1, 2)) for axis in (1, 2)], -1)  # [64, 2, 2]
    factors = 1 / np.sqrt(np.linalg.det(slopes))
    angles = np.degrees(np.arctan2(slopes[:, 1, 0], slopes[:, 0, 0]))
    assert 0.8 <= factors.min() < 0.9 < 1.15 < factors.max() <= 1.25
    assert -15 <= angles.min() < -10 < 10 < angles.max() <= 15
    shifts = moved[:, 5, 5] / 41
    assert -0.1 <= shifts.min() < -0.07 < 0.07 < shifts.max() <= 0.1


def test_random_crops_are_windows_at_every_place():
    images = jnp.arange(9 * 12.0).reshape(1, 9, 12, 1).repeat(600, 0) + jnp.zeros(2)
    cropped = np.asarray(jax.jit(partial(random_crop, size=8))(jax.random.key(0), images))
    assert cropped.shape == (600, 8, 8, 2)
    corners = [divmod(int(corner), 12) for corner in cropped[:, 0, 0, 0]]
    for crop, (row, column) in zip(cropped, corners, strict=True):
        np.testing.assert_array_equal(crop, images[0, row : row + 8, column : column + 8])
    counts = [corners.count((row, column)) for row in range(2) for column in range(5)]
    assert sum(counts) == 600
    assert min(counts) > 35  # of 60 expected; 3.4 standard deviations below
    np.testing.assert_array_equal(random_crop(jax.random.key(0), images[:, :8, :8], size=8), images[:, :8, :8])
