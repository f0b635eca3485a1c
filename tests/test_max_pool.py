"""Max pooling as it is lowered for a CPU, against XLA's own windows in float64."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.ops.pooling import max_pool

POOLINGS = [  # window, strides, padding, image
    ((2, 2), (2, 2), "VALID", (8, 6)),
    ((2, 2), (2, 2), "VALID", (7, 9)),  # the last row and column in no window
    ((3, 3), (2, 2), ((1, 1), (1, 1)), (8, 7)),
    ((3, 3), (2, 2), "VALID", (9, 10)),
    ((3, 3), (2, 2), ((0, 1), (0, 0)), (8, 9)),  # PyTorch's ceil_mode
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (5, 4)),
    ((3, 3), None, "SAME", (5, 4)),
    ((2, 3), (3, 1), "SAME", (8, 7)),  # rows in no window between others
    ((1, 2), (2, 3), "VALID", (6, 9)),
    ((3, 3), (5, 5), ((1, 1), (1, 1)), (12, 11)),
    ((4, 4), (2, 2), "VALID", (10, 10)),  # many taps: XLA's own
]


@pytest.mark.parametrize(("window", "strides", "padding", "size"), POOLINGS)
def test_values_and_gradients(window, strides, padding, size):
    def value_and_gradient(pool):
        def loss(x):
            y = pool(x, window, strides, padding)
            return (jnp.sin(y) * weights[: y.size].reshape(y.shape)).sum(), y

        (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
        return y, gradient

    with jax.enable_x64(True):
        x = np.random.RandomState(0).randn(2, *size, 3)
        weights = np.random.RandomState(1).randn(x.size)
        (y, gradient), (expected, expected_gradient) = map(value_and_gradient, (max_pool, nn.max_pool))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-14)


def test_forward_mode_and_vmap():
    pool = partial(max_pool, window=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    x, dx = np.random.RandomState(0).randn(2, 3, 8, 7, 2).astype(np.float32)
    gradient = jax.grad(lambda x: (pool(x) ** 2).sum())
    _, slope = jax.jvp(lambda x: (pool(x) ** 2).sum(), (x,), (dx,))
    assert float(slope) == pytest.approx(float((gradient(x) * dx).sum()), rel=1e-4)
    np.testing.assert_array_equal(jax.vmap(gradient)(np.stack([x, dx])), np.stack([gradient(x), gradient(dx)]))


def test_the_first_of_equal_pixels_gets_the_gradient():
    """As in PyTorch: `torch.nn.functional.max_pool2d(torch.ones(1, 1, 4, 4), 3, 2, 1)` gives just these."""
    gradient = jax.grad(lambda x: max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))).sum())(jnp.ones((1, 4, 4, 1)))
    expected = np.zeros((4, 4))
    expected[:2, :2] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_nan_is_the_largest():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 1] = np.nan
    pooled = max_pool(jnp.asarray(x), (2, 2), (2, 2))
    np.testing.assert_array_equal(np.isnan(pooled[0, :, :, 0]), [[True, False], [False, False]])


def test_bfloat16_stays():
    assert max_pool(jnp.ones((1, 4, 4, 1), jnp.bfloat16), (2, 2), (2, 2)).dtype == jnp.bfloat16
