"""Convolutions that become others or matrix products on a CPU, against `jax.lax` and SciPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from scipy.signal import correlate2d

from jaxvision.ops.convolution import conv_general_dilated

LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
PRODUCTS = [  # image, kernel, strides, padding
    ((2, 5, 4, 3), (1, 1, 3, 4), (1, 1), ((0, 0), (0, 0))),
    ((2, 5, 4, 3), (1, 1, 3, 4), (2, 2), ((0, 0), (0, 0))),
    ((2, 9, 8, 1), (5, 5, 1, 6), (1, 1), ((0, 0), (0, 0))),
    ((2, 9, 8, 3), (3, 3, 3, 8), (2, 1), ((1, 1), (0, 2))),
    ((2, 2, 7, 16), (3, 3, 16, 4), (1, 1), ((1, 1), (1, 1))),
    ((2, 1, 1, 16), (3, 3, 16, 4), (2, 2), ((1, 1), (1, 1))),
    ((2, 5, 5, 16), (5, 5, 16, 40), (1, 1), ((0, 0), (0, 0))),
]
GROUPED = [  # image, kernel, strides, padding, groups, how many convolutions or products they become
    ((2, 6, 5, 8), (3, 3, 2, 12), (1, 1), ((1, 1), (1, 1)), 4, 1),
    ((2, 6, 5, 96), (3, 3, 32, 6), (2, 2), ((1, 1), (1, 1)), 3, 3),
    ((2, 7, 6, 128), (3, 3, 4, 64), (2, 2), ((1, 1), (1, 1)), 32, 4),
    ((1, 5, 5, 512), (3, 3, 32, 16), (1, 1), ((0, 2), (1, 1)), 16, 8),
    ((2, 2, 2, 64), (3, 3, 2, 64), (1, 1), ((1, 1), (1, 1)), 32, 2),
    ((2, 4, 4, 64), (1, 1, 16, 8), (1, 1), ((0, 0), (0, 0)), 4, 2),
    ((1, 4, 4, 168), (3, 3, 24, 14), (2, 2), ((1, 1), (1, 1)), 7, 4),  # of 2, 2, 2 and 1 groups
    ((1, 4, 4, 408), (3, 3, 24, 34), (1, 1), ((1, 1), (1, 1)), 17, 6),  # of 3 groups, the last of 2
]
DEPTHWISE = [  # image, kernel, strides, padding
    ((2, 6, 5, 4), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((2, 19, 6, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((1, 8, 8, 2), (5, 5), (2, 2), ((2, 2), (2, 2))),
    ((1, 37, 7, 2), (7, 7), (1, 1), ((3, 3), (3, 3))),
    ((2, 5, 4, 3), (7, 7), (2, 2), ((3, 3), (3, 3))),
    ((2, 1, 1, 3), (7, 7), (1, 1), ((3, 3), (3, 3))),
    ((2, 9, 8, 3), (3, 5), (2, 1), ((0, 2), (4, 0))),
    ((1, 4, 4, 2), (3, 3), (1, 2), ((3, 4), (5, 3))),
    ((2, 9, 8, 2), (3, 3), (1, 1), ((-1, 1), (2, -2))),
]
CONVOLUTIONS = [
    ((2, 8, 8, 16), (3, 3, 16, 4), (1, 1), ((1, 1), (1, 1)), {}),
    ((2, 8, 8, 4), (3, 3, 1, 8), (1, 1), ((1, 1), (1, 1)), {"feature_group_count": 4}),
    ((2, 8, 8, 4), (9, 9, 1, 4), (1, 1), ((4, 4), (4, 4)), {"feature_group_count": 4}),
    ((2, 8, 8, 4), (3, 3, 4, 4), (1, 1), ((2, 2), (2, 2)), {"rhs_dilation": (2, 2)}),
    ((2, 4, 4, 4), (1, 1, 4, 4), (1, 1), ((0, 0), (0, 0)), {"lhs_dilation": (2, 2)}),
    ((2, 8, 8, 4), (3, 3, 4, 4), (1, 1), "SAME", {}),
]


def compiled(image, kernel, strides, padding, options) -> str:
    """What the convolution is compiled to on this platform."""
    shapes = jnp.zeros(image), jnp.zeros(kernel)
    run = jax.jit(lambda x, k: conv_general_dilated(x, k, strides, padding, **LAYOUT, **options))
    return run.lower(*shapes).as_text()


def primitives(*case) -> set[str]:
    text = compiled(*case)
    return {name for name in ("stablehlo.convolution", "stablehlo.dot_general") if name in text}


def assert_is_the_convolution(image, kernel, strides, padding, options):
    """Output and gradients are those of `jax.lax`."""
    random = np.random.RandomState(0)
    with jax.enable_x64(True):
        x, k = jnp.asarray(random.randn(*image)), jnp.asarray(random.randn(*kernel))

        def with_gradients(convolve):
            loss = lambda x, k: (convolve(x, k, strides, padding, **LAYOUT, **options) ** 2).sum()
            return convolve(x, k, strides, padding, **LAYOUT, **options), jax.grad(loss, (0, 1))(x, k)

        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
        jax.tree.map(close, with_gradients(conv_general_dilated), with_gradients(lax.conv_general_dilated))


@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), PRODUCTS)
def test_product_is_the_convolution(image, kernel, strides, padding):
    assert primitives(image, kernel, strides, padding, {}) == {"stablehlo.dot_general"}
    assert_is_the_convolution(image, kernel, strides, padding, {})


@pytest.mark.parametrize(("image", "kernel", "strides", "padding", "groups", "parts"), GROUPED)
def test_several_groups_are_convolved_at_once(image, kernel, strides, padding, groups, parts):
    options = {"feature_group_count": groups}
    text = compiled(image, kernel, strides, padding, options)
    assert text.count("stablehlo.convolution") + text.count("stablehlo.dot_general") == parts
    assert text.count("feature_group_count = 1 ") == text.count("stablehlo.convolution")
    assert_is_the_convolution(image, kernel, strides, padding, options)


def depthwise(convolve, strides, padding, cotangent):
    """Returns a function from images and kernel to the convolution and its two gradients."""

    def run(x, kernel):
        options = {**LAYOUT, "feature_group_count": x.shape[-1]}
        y, pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, strides, padding, **options), x, kernel)
        return y, *pull_back(cotangent)

    return run


@pytest.mark.parametrize(("image", "size", "strides", "padding"), DEPTHWISE)
def test_depthwise_is_the_convolution(image, size, strides, padding):
    kernel, options = (*size, 1, image[-1]), {"feature_group_count": image[-1]}
    assert not primitives(image, kernel, strides, padding, options)
    random = np.random.RandomState(0)
    with jax.enable_x64(True):
        x, k = jnp.asarray(random.randn(*image)), jnp.asarray(random.randn(*kernel))
        y = lax.conv_general_dilated(x, k, strides, padding, **LAYOUT, **options)
        cotangent = jnp.asarray(random.randn(*y.shape))
        expected = jax.jit(depthwise(lax.conv_general_dilated, strides, padding, cotangent))(x, k)
        found = jax.jit(depthwise(conv_general_dilated, strides, padding, cotangent))(x, k)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())


def test_depthwise_in_bfloat16_adds_in_float32():
    random = np.random.RandomState(0)
    x, k, cotangent = (
        jnp.asarray(random.uniform(1, 2, shape), jnp.bfloat16)
        for shape in [(2, 40, 40, 3), (7, 7, 1, 3), (2, 40, 40, 3)]
    )
    found = jax.jit(depthwise(conv_general_dilated, (1, 1), ((3, 3), (3, 3)), cotangent))(x, k)
    wide = [array.astype(jnp.float32) for array in (x, k, cotangent)]
    expected = depthwise(lax.conv_general_dilated, (1, 1), ((3, 3), (3, 3)), wide[2])(*wide[:2])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(ours), theirs, rtol=1.01 * 2**-8)


def test_depthwise_of_several_kernels_at_once():
    random = np.random.RandomState(0)
    x, k, cotangent = (jnp.asarray(random.randn(*s), "f") for s in [(2, 6, 5, 4), (3, 3, 3, 1, 4), (2, 3, 3, 4)])
    run = depthwise(conv_general_dilated, (2, 2), ((1, 1), (1, 1)), cotangent)
    together, alone = jax.jit(jax.vmap(run, (None, 0)))(x, k), [jax.jit(run)(x, kernel) for kernel in k]
    for found, *expected in zip(together, *alone, strict=True):
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_depthwise_stays_a_convolution_elsewhere(platform):
    run = depthwise(conv_general_dilated, (1, 1), ((1, 1), (1, 1)), jnp.ones((2, 6, 5, 4)))
    program = export.export(jax.jit(run), platforms=[platform])(jnp.ones((2, 6, 5, 4)), jnp.ones((3, 3, 1, 4)))
    assert program.mlir_module().count("stablehlo.convolution") == 3


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_computes_its_image_once(stride):
    """XLA's CPU compiler could fuse what makes the image into each of the nine taps."""

    def run(x, kernel):
        pads = ((1, 1), (1, 1))
        return conv_general_dilated(jnp.tanh(x), kernel, (stride, stride), pads, **LAYOUT, feature_group_count=4)

    program = jax.jit(run).lower(jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 1, 4))).compile().as_text()
    (makes_image,) = [part for part in program.split("\n\n") if " tanh(" in part]
    assert makes_image.count(" tanh(") == 1
    assert " slice(" not in makes_image


@pytest.mark.parametrize(("image", "kernel", "strides", "padding", "options"), CONVOLUTIONS)
def test_other_convolutions_stay(image, kernel, strides, padding, options):
    assert primitives(image, kernel, strides, padding, options) == {"stablehlo.convolution"}


def test_against_scipy():
    random = np.random.RandomState(0)
    image, kernel = random.randn(1, 7, 6, 2), random.randn(5, 5, 2, 3)
    with jax.enable_x64(True):
        ours = conv_general_dilated(jnp.asarray(image), jnp.asarray(kernel), (1, 1), ((0, 0), (0, 0)), **LAYOUT)
    for feature in range(3):
        channels = [correlate2d(image[0, :, :, c], kernel[:, :, c, feature], "valid") for c in range(2)]
        np.testing.assert_allclose(ours[0, :, :, feature], sum(channels), rtol=1e-12)
