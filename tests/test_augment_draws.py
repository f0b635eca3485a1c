"""What augmentations draw: against torchvision's draws and the documented distributions, reproducible from the key.

The keys are fixed, so that a test of a distribution passes always or never.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy import stats

from jaxvision import augment
from jaxvision.augment import policies
from jaxvision.augment.color import EIGENVALUES, draw_jitter
from jaxvision.augment.crops import draw_crop_boxes
from jaxvision.augment.mixing import cutmix_boxes, draw_erased_boxes, draw_share
from jaxvision.augment.policies import AUTO_AUGMENT, OPERATIONS, SIGNED, draw_operations, draw_pairs, magnitudes
from tests.reference import augmentation_cases as cases
from train.shared.mesh import batch_sharding, make_mesh

STORED = np.load(cases.FILE)
KEY = jax.random.key(0)
LIKELY = 1e-3  # p-value
LABELS = jnp.eye(8)


def call(function, *arguments, **options):
    """Compiled whole, which is quicker than operation by operation."""
    return jax.jit(functools.partial(function, **options))(*arguments)


RANDOM = {
    "random_affine": lambda key, images: augment.random_affine(
        key, images, degrees=15, translate=0.1, scale=(0.8, 1.2)
    ),
    "random_crop": lambda key, images: augment.random_crop(key, images, size=(12, 10), padding=2),
    "random_resized_crop": lambda key, images: augment.random_resized_crop(
        key, images, size=(12, 10), method="bicubic"
    ),
    "random_horizontal_flip": augment.random_horizontal_flip,
    "color_jitter": lambda key, images: augment.color_jitter(
        key, images, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, probability=0.8
    ),
    "random_grayscale": lambda key, images: augment.random_grayscale(key, images, probability=0.5),
    "random_pca_color_shift": augment.random_pca_color_shift,
    "random_solarize": augment.random_solarize,
    "random_gaussian_blur": lambda key, images: augment.random_gaussian_blur(key, images, kernel_size=5),
    "random_erasing": lambda key, images: augment.random_erasing(key, images, value="random"),
    "cutout": lambda key, images: augment.cutout(key, images, size=5),
    "mixup": lambda key, images: augment.mixup(key, images, LABELS[: len(images)])[0],
    "cutmix": lambda key, images: augment.cutmix(key, images, LABELS[: len(images)])[0],
    "auto_augment": augment.auto_augment,
    "rand_augment": augment.rand_augment,
    "trivial_augment": augment.trivial_augment,
    "recipe": augment.recipe("trivialaugment", 14),
}


@pytest.mark.parametrize("name", RANDOM)
def test_lowers_and_keeps_the_type(name):
    images = jax.ShapeDtypeStruct((8, 16, 14, 3), jnp.bfloat16)
    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(RANDOM[name]), platforms=("cuda", "tpu"))(key, images)
    assert [out.dtype for out in exported.out_avals] == [jnp.bfloat16]


@pytest.mark.parametrize("name", ["random_resized_crop", "color_jitter", "cutout", "rand_augment"])
def test_each_image_has_its_own_draw_and_the_key_decides(name):
    image = np.random.RandomState(0).rand(1, 16, 14, 3).astype(np.float32)
    images = jnp.asarray(np.repeat(image, 8, 0))
    apply = jax.jit(RANDOM[name])
    first = np.asarray(apply(KEY, images))
    np.testing.assert_array_equal(first, apply(KEY, images))
    assert not np.array_equal(first, apply(jax.random.key(1), images))
    assert len({picture.tobytes() for picture in first}) >= 4
    assert 0 <= first.min() <= first.max() <= 1


def test_eight_devices_draw_what_one_draws():
    images = jnp.asarray(np.random.RandomState(0).rand(8, 16, 14, 3), jnp.float32)
    apply = jax.jit(RANDOM["trivial_augment"])
    dealt = jax.device_put(images, batch_sharding(make_mesh(8, 1)))
    np.testing.assert_allclose(apply(KEY, dealt), apply(KEY, images), atol=1e-6)


def shapes(boxes):
    """Of boxes (top, left, height, width): areas, logarithms of the ratio, and where they lie, from 0 to 1."""
    top, left, height, width = np.asarray(boxes, float).T
    room = np.maximum(np.array(cases.SIZE)[:, None] - [height, width], 1e-9)
    return height * width, np.log(width / height), top / room[0], left / room[1]


@pytest.mark.parametrize(
    ("name", "draw", "options"),
    [("crop", draw_crop_boxes, cases.CROPS), ("erased", draw_erased_boxes, cases.ERASED)],
)
def test_boxes_are_drawn_as_torchvision_draws_them(name, draw, options):
    boxes = np.asarray(call(draw, KEY, batch=cases.DRAWS, size=cases.SIZE, **options))
    for ours, theirs in zip(shapes(boxes), shapes(STORED[f"{name} boxes"]), strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > LIKELY
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= cases.SIZE).all()


def test_what_does_not_fit():
    """A crop is then the largest in the middle, and nothing is erased."""
    for (size, scale), expected in zip(cases.FALLBACKS, STORED["fallback boxes"], strict=True):
        boxes = call(draw_crop_boxes, KEY, batch=3, size=size, scale=scale, ratio=cases.CROPS["ratio"])
        np.testing.assert_array_equal(boxes, np.tile(expected, (3, 1)))
    boxes = call(draw_erased_boxes, KEY, batch=3, size=(10, 100), scale=(0.9, 1.0), ratio=(3.0, 3.3))
    np.testing.assert_array_equal(boxes[:, 2:], 0)


def test_boxes_of_cutmix():
    shares = call(draw_share, KEY, batch=cases.DRAWS, alpha=cases.ALPHA)
    assert stats.kstest(np.asarray(shares), stats.beta(cases.ALPHA, cases.ALPHA).cdf).pvalue > LIKELY
    centers = np.random.RandomState(0).randint(0, cases.SIZE, (cases.DRAWS, 2))
    boxes = np.asarray(call(cutmix_boxes, shares, centers, size=cases.SIZE))
    shares = np.asarray(shares)
    height, width = cases.SIZE
    for share, center, box in zip(shares[:50], centers, boxes, strict=False):
        half = [int(0.5 * np.sqrt(1 - float(share)) * side) for side in cases.SIZE]
        inside = [set(range(max(c - h, 0), min(c + h, s))) for c, h, s in zip(center, half, cases.SIZE, strict=True)]
        assert [set(range(b, b + n)) for b, n in zip(box[:2], box[2:], strict=True)] == inside
    for axis in range(4):
        assert stats.ks_2samp(boxes[:, axis], STORED["cutmix boxes"][:, axis]).pvalue > LIKELY
    kept = 1 - boxes[:, 2] * boxes[:, 3] / (height * width)
    assert stats.ks_2samp(kept, STORED["cutmix shares"]).pvalue > LIKELY


def test_labels_say_what_is_left_of_the_images():
    """The share of the label that an image keeps is the share of its pixels, in cutmix, or their weight, in mixup."""
    images = jnp.arange(8.0)[:, None, None, None] * jnp.ones((8, 16, 14, 1))
    pasted, labels = jax.jit(augment.cutmix)(KEY, images, LABELS)
    kept = np.mean(pasted == images, (1, 2, 3))
    np.testing.assert_allclose(np.diag(labels), kept, atol=1e-6)
    np.testing.assert_allclose(np.sum(labels, 1), 1, atol=1e-6)
    mixed, labels = jax.jit(augment.mixup)(KEY, images, LABELS)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], labels @ np.arange(8), atol=1e-5)
    assert len(np.unique(np.diag(labels))) == 8


def test_jitter_is_even_in_its_ranges_and_in_any_order():
    intervals = [(0.6, 1.4), (0.0, 1.9), (0.2, 0.3), (-0.1, 0.1)]
    factors, order = (np.asarray(drawn) for drawn in call(draw_jitter, KEY, batch=4800, intervals=intervals))
    for drawn, (low, high) in zip(factors.T, intervals, strict=True):
        assert stats.kstest(drawn, stats.uniform(low, high - low).cdf).pvalue > LIKELY
    counts = [int((order == permutation).all(1).sum()) for permutation in itertools.permutations(range(4))]
    assert stats.chisquare(counts).pvalue > LIKELY


def test_options_of_jitter_are_those_of_torchvision():
    """A number stands for an interval about 1, which does not reach below 0."""
    images = jnp.full((2000, 1, 1, 1), 0.25)
    factors = np.asarray(call(augment.color_jitter, KEY, images, brightness=1.5)).ravel() / 0.25
    assert 0 <= factors.min() < 0.01 < 2.49 < factors.max() <= 2.5
    found = call(augment.color_jitter, KEY, images, brightness=(0.5, 0.75), probability=0.3)
    factors = np.asarray(found).ravel() / 0.25
    changed = factors != 1
    assert 0.26 < changed.mean() < 0.34
    assert 0.5 <= factors.min() < factors[changed].max() <= 0.75


@pytest.mark.parametrize("space", ["randaugment", "trivialaugment"])
def test_magnitudes_and_signs_are_torchvisions(space):
    table = magnitudes(space, cases.SIZE, cases.STEPS)
    np.testing.assert_allclose(table, STORED[f"magnitudes {space}"], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal([name in SIGNED for name in OPERATIONS], STORED[f"signed {space}"])
    operations, drawn = (np.asarray(values) for values in call(draw_operations, KEY, batch=14_000, table=table))
    assert stats.chisquare(np.bincount(operations, minlength=14)).pvalue > LIKELY
    for operation, name in enumerate(OPERATIONS):
        of_it = drawn[operations == operation]
        assert set(np.abs(of_it)) <= set(table[operation])
        if len(set(table[operation])) == cases.STEPS:
            counts = [int((np.abs(of_it) == step).sum()) for step in table[operation]]
            assert stats.chisquare(counts).pvalue > LIKELY
        negative = (of_it < 0).sum()
        possible = (of_it != 0).sum()
        assert stats.binomtest(negative, possible).pvalue > LIKELY if name in SIGNED else negative == 0


def test_pairs_of_auto_augment_are_torchvisions():
    """Each with its operation, its probability and its magnitude."""
    table = magnitudes("randaugment", cases.SIZE, 10)
    kinds = [[OPERATIONS.index(name) for name, _, _ in pair] for pair in AUTO_AUGMENT]
    ours = [
        [(kind, probability, table[kind, step]) for kind, (_, probability, step) in zip(*pair, strict=True)]
        for pair in zip(kinds, AUTO_AUGMENT, strict=True)
    ]
    np.testing.assert_allclose(ours, STORED["autoaugment"], rtol=1e-6, atol=1e-6)
    drawn = call(draw_pairs, KEY, batch=25_000, size=cases.SIZE)
    for turn, (operations, amounts) in enumerate(drawn):
        pairs = STORED["autoaugment"][:, turn]
        shares = np.bincount(pairs[:, 0].astype(int), pairs[:, 1] / 25, minlength=14)
        shares[0] += 1 - shares.sum()
        counts = np.bincount(operations, minlength=14)
        assert stats.chisquare(counts[shares > 0], 25_000 * shares[shares > 0]).pvalue > LIKELY
        assert counts[shares == 0].sum() == 0
        for kind in np.flatnonzero(shares[1:]) + 1:
            found = np.asarray(amounts)[operations == kind]
            possible = set(np.abs(pairs[(pairs[:, 0] == kind) & (pairs[:, 1] > 0), 2]).round(5))
            assert set(np.abs(found).round(5)) == possible
            if OPERATIONS[kind] in SIGNED:
                assert stats.binomtest(int((found < 0).sum()), int((found != 0).sum())).pvalue > LIKELY


def test_auto_augment_applies_its_pairs_in_turn(monkeypatch):
    """A pair that always halves the levels, then inverts."""
    monkeypatch.setattr(policies, "AUTO_AUGMENT", ((("posterize", 1.0, 9), ("solarize", 1.0, 9)),))
    images = jnp.asarray(np.random.RandomState(0).rand(2, 8, 9, 3), jnp.float32)
    expected = 1 - augment.posterize(images, jnp.full(2, 4))
    np.testing.assert_allclose(call(augment.auto_augment, KEY, images), expected, atol=1e-6)


def test_rand_augment_has_one_magnitude():
    """The levels that are left tell the bits that posterize keeps; solarize inverts from the threshold."""
    ramp = jnp.tile(jnp.arange(256.0)[:, None, None] / 255, (2000, 1, 1, 1))
    found = np.asarray(call(augment.rand_augment, KEY, ramp, num_operations=1, magnitude=15))[..., 0, 0]
    ramp_values = np.asarray(ramp)[0, :, 0, 0]
    distinct = {len(np.unique(values.round(5))) for values in found}
    assert 64 in distinct  # 8 - 4 x 15 / 30 bits
    assert not {2, 4, 8, 16, 32} & distinct
    solarized = [values for values in found if values[127] == ramp_values[127] and values[128] < 0.5]
    assert len(solarized) > 50
    np.testing.assert_array_equal(augment.rand_augment(KEY, ramp, num_operations=0), ramp)


def test_components_of_colors_are_normal():
    images = jnp.full((4000, 1, 1, 3), 0.5)
    shifts = np.asarray(call(augment.random_pca_color_shift, KEY, images, std=0.1), float)[:, 0, 0] - 0.5
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(shifts.T)))[::-1]
    np.testing.assert_allclose(spread, 0.1 * np.array(EIGENVALUES), rtol=0.05)


def test_crops_are_even_over_all_places():
    """Each pixel's value is its place, and the padding is 0."""
    places = jnp.arange(1.0, 21).reshape(1, 4, 5, 1)
    found = np.asarray(call(augment.random_crop, KEY, jnp.tile(places, (4200, 1, 1, 1)), size=(4, 5), padding=1))
    assert stats.chisquare(np.unique(found[:, 1, 1, 0], return_counts=True)[1]).pvalue > LIKELY
    assert set(found[:, 1, 1, 0]) == {1, 2, 3, 6, 7, 8, 11, 12, 13}
    corner = next(picture for picture in found if picture[1, 1, 0] == 1)[..., 0]
    np.testing.assert_array_equal(corner, np.pad(np.asarray(places)[0, :3, :4, 0], ((1, 0), (1, 0))))


def test_recipe_of_alexnet_crops_mirrors_and_shifts_the_colours_of_an_image_together():
    images = jnp.broadcast_to(jnp.arange(24.0)[:, None, None] / 24 + jnp.arange(24.0)[:, None] / 600, (64, 24, 24, 1))
    images = jnp.broadcast_to(images, (64, 24, 24, 3))
    found = np.asarray(call(augment.recipe("alexnet", 16), KEY, images))
    assert found.shape == (64, 16, 16, 3)
    shifts = found - found[..., :1]  # of green and blue beside red: the same all over an image
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-6)
    assert len(np.unique(shifts[:, 0, 0, 2].round(6))) > 32
    slopes = np.sign(found[:, 0, 1, 0] - found[:, 0, 0, 0])
    assert set(slopes) == {-1, 1}  # mirrored or not
    np.testing.assert_allclose(found[:, 1, 0, 0] - found[:, 0, 0, 0], 1 / 24, atol=1e-5)


def test_recipe_of_cifar():
    """Moves of up to an eighth, filled with zeros, and flips."""
    columns = jnp.broadcast_to(jnp.arange(1.0, 17), (256, 16, 16))[..., None]
    found = np.asarray(call(augment.recipe("crop-flip", 16), KEY, columns))[:, 8, :, 0]
    steps = np.sign(found[:, 8] - found[:, 7])
    assert stats.binomtest(int((steps == 1).sum()), 256).pvalue > LIKELY
    moves = {int((row == 0).sum()) for row in found}
    assert moves == {0, 1, 2}


def test_cutout_is_a_square_about_any_pixel():
    found = np.asarray(call(augment.cutout, KEY, jnp.ones((4000, 6, 7, 1)), size=3))[..., 0]
    squares = {picture.tobytes() for picture in found}
    assert len(squares) == 42
    expected = np.ones((6, 7), np.float32)
    expected[:2, :2] = 0  # about the corner
    assert expected.tobytes() in squares
    counts = np.unique(found.reshape(4000, -1), axis=0, return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > LIKELY


@pytest.mark.parametrize(
    ("apply", "probability"),
    [
        (augment.random_horizontal_flip, 0.5),
        (augment.random_grayscale, 0.1),
        (augment.random_solarize, 0.0),
        (augment.random_erasing, 1.0),
    ],
)
def test_probabilities(apply, probability):
    images = jnp.asarray(np.repeat(np.random.RandomState(0).rand(1, 12, 12, 3), 2000, 0), jnp.float32)
    changed = np.any(call(apply, KEY, images, probability=probability) != images, (1, 2, 3)).sum()
    assert stats.binomtest(int(changed), 2000, probability).pvalue > LIKELY


IMAGES = jnp.zeros((2, 8, 9, 3))
TWO = jnp.ones(2)


@pytest.mark.parametrize(
    ("message", "attempt"),
    [
        ("probability must be from 0 to 1, got 1.5", lambda: augment.random_grayscale(KEY, IMAGES, probability=1.5)),
        ("probability .* got -0.1", lambda: augment.random_horizontal_flip(KEY, IMAGES, probability=-0.1)),
        ("size 13x12 is larger .* 12x13", lambda: augment.random_crop(KEY, IMAGES, size=(13, 12), padding=2)),
        ("padding must be 0 or more", lambda: augment.random_crop(KEY, IMAGES, size=4, padding=-1)),
        ("size must be 1 or more", lambda: augment.random_resized_crop(KEY, IMAGES, size=0)),
        ("cannot cut 9x9 .* 8x9", lambda: augment.crop(IMAGES, jnp.zeros((2, 2), int), 9)),
        ("scale must be", lambda: augment.random_resized_crop(KEY, IMAGES, size=4, scale=(0.5, 0.2))),
        ("ratio must be positive", lambda: augment.random_resized_crop(KEY, IMAGES, size=4, ratio=(0, 2))),
        ("method must be one of", lambda: augment.random_resized_crop(KEY, IMAGES, size=4, method="lanczos")),
        (r"boxes must have the shape \[2, 4\]", lambda: augment.crop_and_resize(IMAGES, jnp.zeros((3, 4)), 4)),
        (r"boxes must have the shape \[2, 4\]", lambda: augment.erase(IMAGES, jnp.zeros((2, 3)))),
        (r"matrices must have the shape \[2, 2, 3\]", lambda: augment.affine(IMAGES, jnp.eye(3))),
        ("interpolation must be", lambda: augment.rand_augment(KEY, IMAGES, interpolation="bicubic")),
        ("degrees must be 0", lambda: augment.random_affine(KEY, IMAGES, degrees=-1, translate=0, scale=(1, 1))),
        ("scale must be pos", lambda: augment.random_affine(KEY, IMAGES, degrees=1, translate=0, scale=(0, 1))),
        ("brightness must be 0 or more", lambda: augment.color_jitter(KEY, IMAGES, brightness=-0.1)),
        ("contrast must be", lambda: augment.color_jitter(KEY, IMAGES, contrast=(1.2, 0.8))),
        (r"hue must be .* \[-0.5, 0.5\]", lambda: augment.color_jitter(KEY, IMAGES, hue=0.6)),
        ("std must be 0 or more", lambda: augment.random_pca_color_shift(KEY, IMAGES, std=-1)),
        ("must be odd", lambda: augment.random_gaussian_blur(KEY, IMAGES, kernel_size=4)),
        ("too large for images of 8x9", lambda: augment.random_gaussian_blur(KEY, IMAGES, kernel_size=17)),
        ("sigma must be positive", lambda: augment.random_gaussian_blur(KEY, IMAGES, kernel_size=3, sigma=(0, 1))),
        ("scale must be", lambda: augment.random_erasing(KEY, IMAGES, scale=(0.1, 1.5))),
        ("size must be 1", lambda: augment.cutout(KEY, IMAGES, size=0)),
        ("alpha must be positive", lambda: augment.mixup(KEY, IMAGES, jnp.eye(2), alpha=0)),
        (r"labels must have the shape \[2, classes\]", lambda: augment.cutmix(KEY, IMAGES, jnp.zeros(2, int))),
        ("magnitude must be from 0 to steps - 1 = 30", lambda: augment.rand_augment(KEY, IMAGES, magnitude=31)),
        ("num_operations must be 0", lambda: augment.rand_augment(KEY, IMAGES, num_operations=-1)),
        ("steps must be 2", lambda: augment.trivial_augment(KEY, IMAGES, steps=1)),
        ("factor must hold one number", lambda: augment.adjust_contrast(IMAGES, jnp.ones(3))),
        ("1 or 3 channels", lambda: augment.trivial_augment(KEY, jnp.zeros((2, 8, 8, 4)))),
        ("1 or 3 channels", lambda: augment.to_grayscale(jnp.zeros((2, 8, 8, 2)))),
        ("takes images", lambda: augment.random_pca_color_shift(KEY, IMAGES[..., :1])),
        ("must have the shape", lambda: augment.random_horizontal_flip(KEY, IMAGES[0])),
        ("at least one pixel", lambda: augment.random_horizontal_flip(KEY, IMAGES[:, :0])),
        ("unknown augmentation 'augmix'; there are crop-flip", lambda: augment.recipe("augmix", 8)),
    ],
)
def test_what_cannot_be_is_refused(message, attempt):
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: augment.random_horizontal_flip(KEY, jnp.zeros((2, 8, 8, 3), jnp.uint8)),
        lambda: augment.mixup(KEY, IMAGES, jnp.eye(2, dtype=int)),
    ],
)
def test_integers_are_refused(attempt):
    with pytest.raises(TypeError, match="floating"):
        attempt()
