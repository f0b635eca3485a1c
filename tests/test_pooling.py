"""Pooling and local response normalisation, and their gradients, against PyTorch's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.cnn.nin import pool3x3
from jaxvision.ops.local_response import local_response_norm
from jaxvision.ops.pooling import adaptive_avg_pool
from tests.reference.layer_cases import ADAPTIVE, CEIL, RESPONSE, image
from tests.reference.stored import FOLDER

EXPECTED = np.load(FOLDER / "layers.npz")
CASES = {
    **{name: (shape, lambda x, size=size: adaptive_avg_pool(x, size)) for name, (shape, size) in ADAPTIVE.items()},
    **{name: (shape, lambda x, kind=kind: pool3x3(x, kind)) for name, (shape, kind) in CEIL.items()},
    **{name: (shape, lambda x, o=options: local_response_norm(x, **o)) for name, (shape, options) in RESPONSE.items()},
}


def with_gradient(function, x):
    """Returns the output, and the gradient of the sum of its squares."""
    output, pull_back = jax.vjp(function, x)
    return output, pull_back(2 * output)[0]


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradient(name):
    shape, function = CASES[name]
    with jax.enable_x64(True):
        x = jnp.asarray(image(name, shape))
        output, gradient = jax.jit(with_gradient, static_argnums=0)(function, x)
    np.testing.assert_allclose(output, EXPECTED[f"{name} output"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, EXPECTED[f"{name} gradient"], rtol=1e-11, atol=1e-11)


def test_the_papers_constants_are_the_default():
    shape, options = RESPONSE["response, paper"]
    x = image("response, paper", shape)
    np.testing.assert_array_equal(local_response_norm(x), local_response_norm(x, **options))


def test_a_map_that_fits_is_returned_as_it_is():
    x = jnp.ones((1, 6, 7, 2))
    assert not jax.make_jaxpr(lambda x: adaptive_avg_pool(x, (6, 7)))(x).eqns


@pytest.mark.parametrize("function", [lambda x: adaptive_avg_pool(x, (2, 2)), lambda x: local_response_norm(x, k=1e-6)])
def test_sums_of_bfloat16_are_of_float32(function):
    """257 equal terms: a sum in bfloat16 stops at 256."""
    x = jnp.asarray(np.random.RandomState(0).uniform(0.5, 1, (1, 34, 30, 8)), jnp.bfloat16)
    found, wide = function(x), function(x.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: adaptive_avg_pool(x, (0, 2)), r"size must be 1 or more in both directions, got \(0, 2\)"),
    (lambda x: local_response_norm(x, size=0), "size must be 1 or more, got 0"),
])  # fmt: skip
def test_sizes_that_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((1, 4, 4, 3)))
