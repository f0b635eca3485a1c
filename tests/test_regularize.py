"""Stochastic depth against its definition and torchvision's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers.regularize import StochasticDepth

BRANCH = np.random.RandomState(0).uniform(1, 2, (4000, 3, 2, 5)).astype(np.float32)
SIGMAS = 5  # of the estimate: with fixed keys a rare deviation is not met again


def drop(rate, branch=BRANCH, *, train=True, seed=0):
    return np.asarray(StochasticDepth(train, rate).apply({}, branch, rngs={"dropout": jax.random.key(seed)}))


def assert_rows_are_dropped_or_scaled(result, rate):
    dropped = (result == 0).all((1, 2, 3))
    np.testing.assert_allclose(result[~dropped], BRANCH[~dropped] / (1 - rate), rtol=1e-6)
    assert abs(dropped.mean() - rate) < SIGMAS * np.sqrt(rate * (1 - rate) / len(BRANCH))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_each_example_is_dropped_whole_or_scaled(rate):
    result = drop(rate)
    assert_rows_are_dropped_or_scaled(result, rate)
    spread = BRANCH.mean() * np.sqrt(rate / (1 - rate) / len(BRANCH))
    assert abs(result.mean() - BRANCH.mean()) < SIGMAS * spread


@pytest.mark.parametrize(("rate", "train"), [(0.5, False), (1.0, False), (0.0, True)])
def test_nothing_is_dropped_in_inference_and_at_rate_0(rate, train):
    np.testing.assert_array_equal(StochasticDepth(train, rate).apply({}, BRANCH), BRANCH)  # without a key


def test_everything_is_dropped_at_rate_1():
    assert (drop(1.0) == 0).all()
    gradient = jax.grad(lambda x: StochasticDepth(True, 1.0).apply({}, x, rngs={"dropout": jax.random.key(0)}).sum())
    assert (gradient(BRANCH[:2]) == 0).all()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_rate_of_a_step_of_a_loop(rate):
    """It is known only when the program runs; no example is divided by the zero of those that are kept."""
    run = lambda rate, x: StochasticDepth(True, rate).apply({}, x, rngs={"dropout": jax.random.key(0)})
    result, gradient = jax.jit(jax.value_and_grad(lambda x, rate: run(rate, x).sum()))(BRANCH, rate)
    kept = (gradient != 0).all((1, 2, 3))
    np.testing.assert_allclose(gradient, np.broadcast_to(kept[:, None, None, None] / max(1 - rate, 1e-9), BRANCH.shape))
    assert abs(1 - kept.mean() - rate) <= SIGMAS * np.sqrt(rate * (1 - rate) / len(BRANCH))
    np.testing.assert_allclose(result, (gradient * BRANCH).sum(), rtol=1e-4)
    np.testing.assert_array_equal(jax.jit(lambda rate: StochasticDepth(False, rate).apply({}, BRANCH))(rate), BRANCH)


def test_key_decides_and_layers_draw_independently():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return StochasticDepth(True, 0.5)(x), StochasticDepth(True, 0.5)(x)

    first, second = Two().apply({}, BRANCH, rngs={"dropout": jax.random.key(0)})
    differing = ((first == 0) != (second == 0)).all((1, 2, 3)).mean()
    assert abs(differing - 0.5) < SIGMAS * 0.5 / np.sqrt(len(BRANCH))
    np.testing.assert_array_equal(drop(0.5, seed=3), drop(0.5, seed=3))
    assert (drop(0.5, seed=3) != drop(0.5, seed=4)).any()


def test_type_is_kept():
    assert drop(0.5, jnp.asarray(BRANCH, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_that_is_no_probability(rate):
    with pytest.raises(ValueError, match=f"must be from 0 to 1, got {rate}"):
        drop(rate)


@pytest.mark.reference
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.7, 1.0])
def test_torchvision_drops_in_the_same_way(rate):
    """Row by row the results are the same wherever both libraries drop, or keep, that row."""
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision").ops
    torch.manual_seed(0)
    theirs, ours = ops.stochastic_depth(torch.from_numpy(BRANCH), rate, "row").numpy(), drop(rate)
    if 0 < rate < 1:
        assert_rows_are_dropped_or_scaled(theirs, rate)
    alike = (theirs == 0).all((1, 2, 3)) == (ours == 0).all((1, 2, 3))
    assert alike.mean() > 0.5
    np.testing.assert_allclose(ours[alike], theirs[alike], rtol=1e-6)
    evaluated = ops.stochastic_depth(torch.from_numpy(BRANCH), rate, "row", training=False).numpy()
    np.testing.assert_array_equal(drop(rate, train=False), evaluated)
