"""The fully connected layers of AlexNet and VGG: where activations are dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers.fully_connected import FullyConnected

DIM = 2000
MAP = np.ones((1, 2, 2, 3), np.float32)


def ones(fan_in, fan_out):
    del fan_out
    return jax.nn.initializers.constant(1 / fan_in), jax.nn.initializers.zeros


def outputs(*, dropout_first, train):
    layers = FullyConnected(2, DIM, 0.5, dropout_first, ones)
    variables = layers.init(jax.random.key(0), jnp.asarray(MAP), train=False)
    y = layers.apply(variables, jnp.asarray(MAP), train=train, rngs={"dropout": jax.random.key(1)})
    assert y.shape == (1, 1, 1, DIM)
    return np.asarray(y).ravel()


@pytest.mark.parametrize("dropout_first", [True, False])
def test_nothing_is_dropped_in_inference(dropout_first):
    np.testing.assert_allclose(outputs(dropout_first=dropout_first, train=False), 1, rtol=1e-4)


def test_what_the_layers_give_is_dropped():
    """As in the paper and in VGG: half of the result is zero, the rest twice the mean of what the first left."""
    y = outputs(dropout_first=False, train=True)
    kept = y[y > 0]
    assert abs(len(kept) / DIM - 0.5) < 5 * 0.5 / np.sqrt(DIM)
    assert np.ptp(kept) < 1e-4
    assert abs(kept[0] - 2) < 5 * 2 / np.sqrt(DIM)


def test_what_the_layers_take_is_dropped():
    """As in torchvision's AlexNet: no result is zero, and all are of the same pixels and activations."""
    y = outputs(dropout_first=True, train=True)
    assert y.min() > 0
    assert np.ptp(y) < 1e-4
    assert abs(y[0] - 1) > 1e-3
