"""Gradients by distance in time, against powers of the recurrent matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.layers import LSTM, RNN
from train import gradient_flow
from train.gradient_flow import gradient_norms, with_forget_bias, with_radius

RANDOM = np.random.RandomState(0)


def test_through_a_linear_network_go_powers_of_its_matrix():
    """ReLUs that are always open: a positive matrix, and large biases."""
    kernel, direction = np.abs(0.3 * RANDOM.randn(4, 4)), RANDOM.randn(3, 4)
    with jax.enable_x64(True):
        layer = RNN(4, nonlinearity="relu", in_features=2, dtype=jnp.float64)
        weights = {"input": {"kernel": RANDOM.randn(2, 4), "bias": np.full(4, 50.0)}}
        weights["hidden"] = {"kernel": kernel, "bias": np.zeros(4)}
        found = gradient_norms(
            layer, {"params": {"layer1_forward": weights}}, jnp.array(RANDOM.randn(3, 6, 2)), direction
        )
    powers = [direction @ np.linalg.matrix_power(kernel.T, distance) for distance in range(7)]
    np.testing.assert_allclose(found, [np.sqrt(np.square(power).sum() / 3) for power in powers], rtol=1e-12)


def test_through_a_cell_that_forgets_nothing_the_gradient_stays():
    """Gates that let nothing in, keep everything and let everything out: h is tanh(c) of a c that stays at zero."""
    layer = LSTM(3, in_features=2)
    zeros = jax.tree.map(jnp.zeros_like, jv.init(layer, jax.random.key(0)))
    bias = jnp.concatenate([jnp.full(3, shift) for shift in (-40.0, 40.0, 0.0, 40.0)])
    weights = zeros["params"]["layer1_forward"]
    weights = {**weights, "input": {**weights["input"], "bias": bias}}
    direction = np.float32([[1, 2, 2]])
    found = gradient_norms(layer, {"params": {"layer1_forward": weights}}, jnp.ones((1, 9, 2)), direction)
    np.testing.assert_allclose(found, 3, rtol=1e-6)


def test_weights_are_scaled_and_biases_set():
    layer = LSTM(3, in_features=2)
    variables = jv.init(layer, jax.random.key(0))
    biases = with_forget_bias(variables, 4.0)["params"]["layer1_forward"]["input"]["bias"]
    np.testing.assert_array_equal(biases[3:6], 4)
    before = variables["params"]["layer1_forward"]["input"]["bias"]
    np.testing.assert_array_equal(np.delete(biases, [3, 4, 5]), np.delete(before, [3, 4, 5]))
    kernel = with_radius(jv.init(RNN(5, in_features=2), jax.random.key(0)), 1.5)["params"]["layer1_forward"]["hidden"]
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(kernel["kernel"])).max(), 1.5, rtol=1e-6)


def test_figure_names_each_network(monkeypatch):
    norms = np.geomspace(1, 1e-6, 11)
    monkeypatch.setattr(gradient_flow, "flows", lambda: {"RNN": ("#000000", norms), "LSTM": ("#CC79A7", norms)})
    asked = []
    monkeypatch.setattr(gradient_flow, "learning", lambda clip, updates: (asked.append(clip), norms, norms)[1:])
    panels = gradient_flow.draw(11).axes
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["RNN", "LSTM"]
    assert [text.get_text() for text in panels[2].get_legend().get_texts()] == ["not clipped", "clipped at 1"]
    assert asked == [None, 1.0]


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="--updates must be 1 or more, got 0"):
        gradient_flow.Options(updates=0)
