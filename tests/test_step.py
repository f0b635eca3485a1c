"""The training step against optax and arithmetic done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.shared.state import create_state, ema
from train.shared.step import make_train_step, means

RANDOM = np.random.RandomState(0)
X, Y = RANDOM.randn(8, 3).astype(np.float32), RANDOM.randn(8).astype(np.float32)
W = RANDOM.randn(3).astype(np.float32)


def squared_error(params, model_state, batch, rng, step):
    del rng, step
    error = batch["x"] @ params["w"] - batch["y"]
    weights = batch.get("weight", jnp.ones_like(error))
    loss = (weights * error**2).sum()
    seen = {"stats": {"batches": model_state["stats"]["batches"] + 1}}
    return (loss, weights.sum()), (seen, {"error": (weights * jnp.abs(error)).sum()})


def fresh(optimizer, *, average=False):
    variables = {"params": {"w": jnp.array(W)}, "stats": {"batches": jnp.zeros(())}}
    return create_state(variables, optimizer, jax.random.key(0), average=average)


def gradient(w, x, y):
    return 2 * x.T @ (x @ w - y) / len(y)


def test_step_is_gradient_descent_on_the_mean_loss():
    optimizer = optax.sgd(0.1)
    state, metrics = jax.jit(make_train_step(squared_error, optimizer))(fresh(optimizer), {"x": X, "y": Y})
    np.testing.assert_allclose(state.params["w"], W - 0.1 * gradient(W, X, Y), rtol=1e-6)
    assert state.step == 1
    assert state.model_state["stats"]["batches"] == 1
    result = means(metrics)
    np.testing.assert_allclose(result["loss"], np.mean((X @ W - Y) ** 2), rtol=1e-6)
    np.testing.assert_allclose(result["gradient_norm"], np.linalg.norm(gradient(W, X, Y)), rtol=1e-6)
    assert "skipped" not in result


def test_microbatches_add_up_to_the_batch_whatever_their_counts():
    optimizer = optax.sgd(0.1)
    weight = np.array([1, 0, 1, 1, 0, 0, 1, 1], np.float32)
    kept = weight > 0
    for accumulate in (1, 2, 4):
        step = jax.jit(make_train_step(squared_error, optimizer, accumulate=accumulate))
        state, metrics = step(fresh(optimizer), {"x": X, "y": Y, "weight": weight})
        np.testing.assert_allclose(state.params["w"], W - 0.1 * gradient(W, X[kept], Y[kept]), rtol=1e-5)
        assert metrics["count"] == 5
        assert state.model_state["stats"]["batches"] == accumulate


def test_batch_that_does_not_divide_is_refused():
    optimizer = optax.sgd(0.1)
    with pytest.raises(ValueError, match="a batch of 8 does not divide into 3 microbatches"):
        make_train_step(squared_error, optimizer, accumulate=3)(fresh(optimizer), {"x": X, "y": Y})


def test_step_that_is_not_finite_changes_only_the_counters():
    optimizer = optax.adam(0.1)
    step = jax.jit(make_train_step(squared_error, optimizer, after_update=ema(0.5)))
    good, _ = step(fresh(optimizer, average=True), {"x": X, "y": Y})
    bad, metrics = step(good, {"x": np.where(np.arange(3) == 1, np.inf, X), "y": Y})
    unchanged = lambda state: state.replace(step=0, nonfinite=0)
    jax.tree.map(np.testing.assert_array_equal, unchanged(bad), unchanged(good))
    assert (bad.step, bad.nonfinite, metrics["skipped"], metrics["count"]) == (2, 1, 1, 0)
    recovered, _ = step(bad, {"x": X, "y": Y})
    assert recovered.nonfinite == 0


def test_an_update_that_is_not_finite_is_skipped():
    optimizer = optax.chain(optax.scale(1e30), optax.sgd(1e30))
    state, metrics = jax.jit(make_train_step(squared_error, optimizer))(fresh(optimizer), {"x": X, "y": Y})
    np.testing.assert_array_equal(state.params["w"], W)
    assert metrics["skipped"] == 1


def test_after_too_many_skipped_steps_all_are_skipped():
    optimizer = optax.sgd(0.1)
    step = jax.jit(make_train_step(squared_error, optimizer, max_nonfinite=2))
    state = fresh(optimizer)
    for x in (X, X * np.inf, X * np.inf, X, X):
        state, _ = step(state, {"x": x, "y": Y})
    assert (state.step, state.nonfinite) == (5, 4)
    np.testing.assert_allclose(state.params["w"], W - 0.1 * gradient(W, X, Y), rtol=1e-6)


def test_ema_by_hand():
    optimizer = optax.sgd(0.1)
    step = jax.jit(make_train_step(squared_error, optimizer, after_update=ema(0.15)))
    state, average = fresh(optimizer, average=True), W.astype(np.float64)
    for taken in range(4):
        state, _ = step(state, {"x": X, "y": Y})
        decay = min(0.15, (1 + taken) / (10 + taken))
        average = decay * average + (1 - decay) * np.asarray(state.params["w"], np.float64)
    np.testing.assert_allclose(state.variables["params"]["w"], average, rtol=1e-6)
    np.testing.assert_array_equal(fresh(optimizer).variables["params"]["w"], W)
