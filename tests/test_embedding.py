"""Patches and positions, against convolutions, loops and the libraries that published how positions are resized."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxvision.layers.embedding import (
    PatchEmbedding,
    RelativeBias,
    distance_groups,
    resize_positions,
    rotate,
    sine_cosine_1d,
    sine_cosine_2d,
)
from jaxvision.ops.receptive_field import receptive_field
from tests.reference import transformer_cases as cases
from tests.reference.stored import FOLDER

STORED = np.load(FOLDER / "transformer.npz")
RANDOM = np.random.RandomState(0)


@pytest.fixture(scope="module")
def patches():
    params = {"kernel": np.float32(RANDOM.randn(4, 4, 3, 6)), "bias": np.float32(RANDOM.randn(6))}
    return PatchEmbedding(4, 6), {"params": params}, np.float32(RANDOM.randn(2, 8, 12, 3))


def test_patches_are_a_convolution(patches):
    layer, variables, image = patches
    drawn = jax.eval_shape(layer.init, jax.random.key(0), image)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, variables)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    layout = ("NHWC", "HWIO", "NHWC")
    expected = lax.conv_general_dilated(image, kernel, (4, 4), "VALID", dimension_numbers=layout) + bias
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, image), expected, rtol=1e-4, atol=1e-5)


def test_a_patch_sees_its_pixels(patches):
    layer, variables, image = patches
    rows, columns = receptive_field(lambda image: layer.apply(variables, image), image)
    assert (rows.axis, rows.jump, rows.first, rows.last) == (1, 4, 0, 3)
    assert (columns.axis, columns.jump, columns.size) == (2, 4, 4)


@pytest.mark.parametrize("size", [(7, 8), (8, 6), (3, 4)])
def test_images_that_are_no_whole_number_of_patches(size, patches):
    layer, variables, _ = patches
    with pytest.raises(ValueError, match=f"a multiple of 4 pixels high and wide, got {size[0]}x{size[1]}"):
        layer.apply(variables, jnp.zeros((1, *size, 3)))


def test_positions_of_a_sequence_are_the_papers():
    """Equation by equation: https://arxiv.org/abs/1706.03762, section 3.5."""
    found = sine_cosine_1d(6, 8)
    for place in range(6):
        for i in range(4):
            angle = place / 10000 ** (2 * i / 8)
            assert found[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-15)
            assert found[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-15)


def test_positions_in_halves_are_marians():
    np.testing.assert_allclose(sine_cosine_1d(5, 12, halves=True), STORED["sines, marian"], rtol=1e-6)


@pytest.mark.parametrize("library", ["llama", "gpt_neox"])
def test_rotary_positions_are_those_of_transformers(library):
    query = cases.array("rotary", cases.BATCH, cases.HEADS, cases.QUERIES, 8).swapaxes(1, 2)
    with jax.enable_x64(True):
        found = rotate(jnp.asarray(query), jnp.arange(cases.QUERIES)).swapaxes(1, 2)
    np.testing.assert_allclose(found, STORED[f"rotary, {library}"], rtol=1e-12, atol=1e-14)


def test_products_of_rotated_vectors_depend_on_the_distance():
    with jax.enable_x64(True):
        query, key = (jnp.asarray(RANDOM.randn(1, 1, 6)) for _ in range(2))
        product = lambda i, j: float((rotate(query, jnp.array([i])) * rotate(key, jnp.array([j]))).sum())
        assert product(3, 1) == pytest.approx(product(102, 100), abs=1e-12)
        assert abs(product(3, 1) - product(3, 2)) > 1e-3


@pytest.mark.parametrize("case", cases.BUCKETS)
def test_biases_by_distance_are_t5s(case):
    both_sides, count, furthest = cases.BUCKETS[case]
    layer = RelativeBias(2, causal=not both_sides, num_groups=count, max_distance=furthest)
    table = np.arange(2 * count).reshape(count, 2) / 8
    run = jax.jit(lambda places: layer.apply({"params": {"table": table}}, places, jnp.zeros(1, int)))
    found = run(cases.DISTANCES)  # [1, H, T, 1]
    np.testing.assert_array_equal(found[0, :, :, 0], table[STORED[case]].T)


def test_positions_of_a_grid():
    """The quarters are the sine and cosine of the column, and of the row; the last frequency is 1 / temperature."""
    found = sine_cosine_2d(3, 5, 12, temperature=100)
    for row in range(3):
        for column in range(5):
            frequencies = (1, 1 / 10, 1 / 100)
            across, down = ([place * f for f in frequencies] for place in (column, row))
            quarters = [*map(math.sin, across), *map(math.cos, across), *map(math.sin, down), *map(math.cos, down)]
            np.testing.assert_allclose(found[row * 5 + column], quarters, atol=1e-15)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: sine_cosine_1d(3, 5), "an even dimension, got 5"),
    (lambda: rotate(jnp.zeros((2, 3, 5)), jnp.arange(2)), "heads of an even dimension, got 5"),
    (lambda: distance_groups(1, 128), "1 groups of distances up to 128: 2 or more"),
    (lambda: sine_cosine_2d(3, 3, 10), "multiple of 4, 8 or more; got 10"),
    (lambda: sine_cosine_2d(3, 3, 4), "multiple of 4, 8 or more; got 4"),
    (lambda: resize_positions(jnp.zeros((1, 5, 2)), (2, 2), (3, 3), "dino"), "one of torchvision, timm, .*'dino'"),
    (lambda: resize_positions(jnp.zeros((1, 5, 2)), (2, 3), (3, 3), "timm"), "5 positions are fewer .* a 2x3 grid"),
])  # fmt: skip
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("case", cases.GRIDS)
def test_positions_are_resized_as_published(case):
    resizing, _, size, new_size = cases.GRIDS[case]
    found = resize_positions(jnp.asarray(cases.positions(case)), size, new_size, resizing)
    np.testing.assert_allclose(found, STORED[case], rtol=0, atol=1e-6 * np.abs(STORED[case]).max())


@pytest.mark.parametrize("resizing", ["torchvision", "timm", "transformers"])
def test_positions_of_the_same_grid_stay(resizing):
    positions = jnp.asarray(RANDOM.randn(1, 17, 4), jnp.float32)
    np.testing.assert_array_equal(resize_positions(positions, (4, 4), (4, 4), resizing), positions)
    one = resize_positions(positions, (4, 4), (1, 1), resizing)
    assert one.shape == (1, 2, 4)
    assert np.isfinite(one).all()
