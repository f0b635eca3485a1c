"""What augmentations make of images, for given parameters, against stored results of torchvision, and against SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxvision import augment
from jaxvision.augment import affine, policies, random_affine
from jaxvision.augment.color import EIGENVALUES, EIGENVECTORS
from jaxvision.augment.policies import OPERATIONS
from tests.reference import augmentation_cases as cases

STORED = np.load(cases.FILE)
PICTURES = jnp.asarray(STORED["images"] / 255, jnp.float32)  # [2, H, W, 3]
EXACT = 2e-5  # float32 of ours and theirs
BYTES = 2 / 255 + 1e-6  # theirs rounds to bytes on the way

KERNELS = {
    "brightness": augment.adjust_brightness,
    "contrast": augment.adjust_contrast,
    "saturation": augment.adjust_saturation,
    "hue": augment.adjust_hue,
    "sharpness": augment.adjust_sharpness,
    "solarize": augment.solarize,
    "posterize": augment.posterize,
    "autocontrast": lambda images, _: augment.autocontrast(images),
    "equalize": lambda images, _: augment.equalize(images),
    "grayscale": lambda images, _: augment.to_grayscale(images),
    "gaussian_blur": lambda images, sigma: augment.gaussian_blur(images, sigma, kernel_size=5),
    "gaussian_blur of 23": lambda images, sigma: augment.gaussian_blur(images, sigma, kernel_size=23),
    "erase": lambda images, boxes: augment.erase(images, boxes, jnp.array([0.3, 0.6, 0.9])),
    "horizontal_flip": lambda images, _: augment.horizontal_flip(images, jnp.array([True, True])),
    "crop": lambda images, corners: augment.crop(images, corners, (17, 20)),
}


OPERATE = {  # compiled once for all tests
    interpolation: jax.jit(functools.partial(augment.apply_operations, interpolation=interpolation))
    for interpolation in ("nearest", "bilinear")
}


def as_floats(stored):
    return stored / 255 if stored.dtype == np.uint8 else stored


@pytest.mark.parametrize("name", cases.CASES)
def test_kernel_is_torchvisions(name):
    parameters = cases.CASES[name]
    parameters = None if parameters[0] is None else jnp.array(parameters)
    found = jax.jit(KERNELS[name])(PICTURES, parameters)
    assert np.abs(found - as_floats(STORED[name])).max() <= EXACT
    assert np.abs(STORED[name][0] - STORED[name][1]).max() > 0.1


@pytest.mark.parametrize("case", cases.RESIZES)
def test_crop_and_resize_is_torchvisions(case):
    method, antialias, size = case
    boxes = jnp.array(cases.BOXES)
    resize = functools.partial(augment.crop_and_resize, size=size, method=method, antialias=antialias)
    found = jax.jit(resize)(PICTURES, boxes)
    assert np.abs(found - STORED[f"{method} {antialias} {size}"]).max() <= EXACT


def affine_matrix(degrees, move, scale):  # [2, 3], in rows and columns
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    return np.concatenate([turn, -turn @ np.array(move)[::-1, None]], 1)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine_is_torchvisions(interpolation):
    matrices = jnp.array([affine_matrix(*parameters) for parameters in cases.AFFINES], jnp.float32)
    found = jax.jit(functools.partial(affine, interpolation=interpolation))(PICTURES, matrices)
    assert np.abs(found - STORED[f"affine {interpolation}"]).max() <= EXACT


def test_jitter_is_torchvisions_in_any_order():
    factors, order = (jnp.array(values) for values in zip(*cases.JITTERS, strict=True))
    found = jax.jit(augment.jitter)(jnp.repeat(PICTURES[:1], len(order), 0), factors, order)
    assert np.abs(found - STORED["jitter"]).max() <= EXACT


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_operations_are_torchvisions(interpolation):
    """Alone, and each image with an operation of its own."""
    apply, expected = OPERATE[interpolation], {}
    for kind, (name, magnitude) in enumerate(cases.OPERATIONS):
        assert OPERATIONS[kind] in {name.lower(), name[:-1].lower() + "_" + name[-1].lower()}
        if f"{name} {interpolation}" in STORED:
            expected[kind] = STORED[f"{name} {interpolation}"] / 255
            found = apply(PICTURES, jnp.full(2, kind), jnp.array(magnitude))
            assert np.abs(found - expected[kind]).max() <= BYTES, name
    assert len(expected) == {"nearest": 14, "bilinear": 5}[interpolation]
    kinds = jnp.array([*expected])
    found = apply(jnp.repeat(PICTURES[1:], len(kinds), 0), kinds, jnp.array([cases.OPERATIONS[k][1][1] for k in kinds]))
    assert np.abs(found - np.stack([pictures[1] for pictures in expected.values()])).max() <= BYTES


def test_all_operations_at_once_are_one_at_a_time():
    """What accelerators compute, and what a CPU does."""
    kinds = jnp.arange(len(OPERATIONS))
    images = jnp.repeat(PICTURES[:1], len(kinds), 0)
    amounts = jnp.array([magnitude[0] for _, magnitude in cases.OPERATIONS])

    @jax.jit
    def all_at_once(images, kinds, amounts):
        matrices = policies.affine_matrices(kinds, amounts, cases.SIZE)
        kernels = [policies.KERNELS.index("geometric" if name in policies.GEOMETRIC else name) for name in OPERATIONS]
        apply = functools.partial(policies._apply, interpolation="nearest")
        return jax.vmap(apply)(jnp.array(kernels), images, amounts, matrices)

    expected = OPERATE["nearest"](images, kinds, amounts)
    np.testing.assert_allclose(all_at_once(images, kinds, amounts), expected, atol=EXACT)


def test_mixup_and_cutmix_are_torchvisions():
    labels = jnp.eye(3)[jnp.array([0, 2])]
    images, mixed = jax.jit(augment.mix)(PICTURES, labels, jnp.full(2, STORED["mixup share"]))
    assert np.abs(images - STORED["mixup images"]).max() <= EXACT
    np.testing.assert_allclose(mixed, STORED["mixup labels"], atol=1e-6)
    images, mixed = jax.jit(augment.paste)(PICTURES, labels, jnp.tile(STORED["cutmix box"], (2, 1)))
    assert np.abs(images - STORED["cutmix images"]).max() <= EXACT
    np.testing.assert_allclose(mixed, STORED["cutmix labels"], atol=1e-6)


def test_each_image_is_mixed_by_its_own_share():
    labels = jnp.eye(3)
    images = jnp.arange(3.0)[:, None, None, None] * jnp.ones((3, 4, 5, 1))
    mixed, shares = jax.jit(augment.mix)(images, labels, jnp.array([0.25, 0.5, 1.0]))
    np.testing.assert_allclose(mixed[:, 0, 0, 0], [0.75 * 2, 0.5 * 1, 2], atol=1e-6)
    np.testing.assert_allclose(shares, [[0.25, 0, 0.75], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-6)
    boxes = jnp.array([[0, 0, 2, 5], [1, 1, 3, 3], [0, 0, 0, 0]])
    pasted, shares = jax.jit(augment.paste)(images, labels, boxes)
    assert [int((image == before).sum()) for image, before in zip(pasted, (2, 0, 1), strict=True)] == [10, 9, 0]
    np.testing.assert_allclose(shares, [[0.5, 0, 0.5], [0.45, 0.55, 0], [0, 0, 1]], atol=1e-6)


def test_colors_shift_along_the_published_components():
    vectors, values = np.array(EIGENVECTORS), np.array(EIGENVALUES)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)  # they are published to four digits
    weights = np.random.RandomState(0).randn(2, 3)
    found = augment.pca_color_shift(PICTURES, jnp.asarray(weights, jnp.float32))
    for picture, weight, shifted in zip(PICTURES, weights, found, strict=True):
        expected = picture + sum(w * value * vector for w, value, vector in zip(weight, values, vectors.T, strict=True))
        np.testing.assert_allclose(shifted, expected, atol=1e-6)


def test_grey_images_stay_grey():
    grey = PICTURES[..., :1]
    for unchanged in (augment.adjust_hue, augment.adjust_saturation):
        np.testing.assert_allclose(jax.jit(unchanged)(grey, jnp.array([0.3, 0.4])), grey, atol=1e-6)
    np.testing.assert_array_equal(augment.to_grayscale(grey), grey)
    rgb = jnp.repeat(grey, 3, -1)
    apply = OPERATE["nearest"]
    for kind, (name, magnitude) in enumerate(cases.OPERATIONS):
        kinds, amounts = jnp.full(2, kind), jnp.array(magnitude)
        expected = apply(rgb, kinds, amounts)[..., :1]  # luma's weights sum to 0.9999
        np.testing.assert_allclose(apply(grey, kinds, amounts), expected, atol=3e-4, err_msg=name)


def test_an_even_channel_is_left_by_autocontrast_and_equalize():
    image = PICTURES[:1].at[..., 1].set(0.3)
    np.testing.assert_allclose(jax.jit(augment.autocontrast)(image)[..., 1], 0.3, atol=1e-6)
    np.testing.assert_allclose(jax.jit(augment.equalize)(image)[..., 1], 76 / 255, atol=1e-6)  # the level of 0.3


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
