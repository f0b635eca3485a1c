"""Convolutions that become others or matrix products on a CPU, against `jax.lax` and SciPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
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
]
CONVOLUTIONS = [
    ((2, 8, 8, 16), (3, 3, 16, 4), (1, 1), ((1, 1), (1, 1)), {}),
    ((2, 8, 8, 4), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), {"feature_group_count": 4}),
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
