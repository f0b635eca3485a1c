"""Schedules at points computed by hand; optimizers against torch's formulas or optax's own."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.shared.optimizer import OPTIMIZERS, SCHEDULES, OptimizerConfig, kernels, make_optimizer, make_schedule


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", {0: 0.1, 10: 1.0, 99: 1.0}),
        ("step", {4: 0.5, 10: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {9: 1.0, 10: 1.0, 55: 0.5, 32: 0.5 * (1 + np.cos(np.pi * 22 / 90)), 100: 0.0}),
        ("polynomial", {10: 1.0, 55: 0.25, 100: 0.0}),
        ("plateau", {0: 0.1, 10: 1.0, 99: 1.0}),
        ("onecycle", {0: 0.04, 5: 0.52, 10: 1.0, 55: 0.5 + 2e-6, 100: 4e-6}),
    ],
)
def test_schedule(name, expected):
    schedule = make_schedule(OptimizerConfig(schedule=name, learning_rate=1.0, warmup=0.1, power=2.0), 100)
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, atol=1e-6, err_msg=f"step {step}")


def test_a_cycle_needs_a_rise():
    with pytest.raises(ValueError, match=r"--warmup 0.005 is too small"):
        make_schedule(OptimizerConfig(schedule="onecycle", warmup=0.005), 100)


def test_milestones_at_the_same_step_all_count():
    config = OptimizerConfig(schedule="step", learning_rate=1.0, warmup=0.0, milestones=(0.5, 0.52))
    np.testing.assert_allclose([make_schedule(config, 10)(step) for step in (4, 5)], [1.0, 0.01], rtol=1e-6)


def test_every_named_optimizer_and_schedule_is_in_the_tables():
    fields = {field.name: field.type for field in dataclasses.fields(OptimizerConfig)}
    assert set(fields["optimizer"].__args__) == set(OPTIMIZERS)
    assert set(fields["schedule"].__args__) == set(SCHEDULES)


def minimized(name: str, **options) -> dict:
    config = OptimizerConfig(optimizer=name, schedule="constant", warmup=0.0, **options)
    optimizer = make_optimizer(config, make_schedule(config, 60))
    params = {"kernel": jnp.full((2, 2, 3, 4), 2.0), "bias": jnp.full(4, 2.0)}
    state = optimizer.init(params)

    @jax.jit
    def update(params, state):
        updates, state = optimizer.update(params, state, params)  # gradient of half the squared norm
        return optax.apply_updates(params, updates), state

    for _ in range(60):
        params, state = update(params, state)
    return params


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_halves_the_squared_norm_that_it_descends(name):
    rate = {"lars": 1.0, "lion": 0.05}.get(name, 0.1)  # lars moves a kernel by a thousandth of its norm
    params = minimized(name, learning_rate=rate, weight_decay=1e-3)
    assert abs(params["kernel"]).max() < 2 / np.sqrt(2)
    assert abs(params["bias"]).max() < 2 / np.sqrt(2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_moves_kernels_alone(name):
    config = OptimizerConfig(optimizer=name, schedule="constant", warmup=0.0, learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(config, make_schedule(config, 10))
    params = {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert (np.asarray(updates["kernel"]) < 0).all()
    np.testing.assert_array_equal(updates["bias"], 0)
    if name in ("sgd", "adamw", "lion", "muon"):  # the others scale the decay by what they adapt
        np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-5)


def test_sgd_with_nesterov_as_torch_documents_it():
    config = OptimizerConfig(
        optimizer="sgd",
        schedule="constant",
        warmup=0.0,
        learning_rate=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
    )
    optimizer = make_optimizer(config, make_schedule(config, 10))
    p = np.array([[1.0, -2.0]])
    params, velocity = {"kernel": jnp.array(p)}, np.zeros_like(p)
    state = optimizer.init(params)
    for gradient in ([[0.5, 1.0]], [[-1.0, 0.25]], [[0.1, 0.2]]):
        updates, state = optimizer.update({"kernel": jnp.array(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        decayed = np.array(gradient) + 0.01 * p
        velocity = 0.9 * velocity + decayed
        p = p - 0.1 * (decayed + 0.9 * velocity)
    np.testing.assert_allclose(params["kernel"], p, rtol=1e-6)


def test_rmsprop_as_torch_documents_it():
    """With a rate that changes, and an epsilon that counts."""
    config = OptimizerConfig(
        optimizer="rmsprop",
        schedule="step",
        warmup=0.0,
        learning_rate=0.1,
        milestones=(0.5,),
        epsilon=0.0316,
        weight_decay=0.01,
    )
    optimizer = make_optimizer(config, make_schedule(config, 4))
    p = np.array([[1.0, -2.0]])
    params, square, buffer = {"kernel": jnp.array(p)}, np.zeros_like(p), np.zeros_like(p)
    state = optimizer.init(params)
    for rate, gradient in zip((0.1, 0.1, 0.01), ([[0.01, 1.0]], [[-0.1, 0.25]], [[0.1, 0.02]]), strict=True):
        updates, state = optimizer.update({"kernel": jnp.array(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        decayed = np.array(gradient) + 0.01 * p
        square = 0.9 * square + 0.1 * decayed**2
        buffer = 0.9 * buffer + decayed / (np.sqrt(square) + 0.0316)
        p = p - rate * buffer
    np.testing.assert_allclose(params["kernel"], p, rtol=1e-5)


def test_clipping_bounds_the_global_norm():
    config = OptimizerConfig(
        optimizer="sgd",
        schedule="constant",
        warmup=0.0,
        learning_rate=1.0,
        weight_decay=0.0,
        momentum=0.0,
        clip_norm=1.0,
    )
    optimizer = make_optimizer(config, make_schedule(config, 10))
    params = {"a": jnp.zeros(2), "b": jnp.zeros((1, 1))}
    updates, _ = optimizer.update({"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], [-0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [[-0.8]], rtol=1e-6)


def test_mask():
    assert kernels({"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}) == {"kernel": True, "bias": False}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("learning_rate", -1.0, "--learning-rate must be 0 or more, got -1.0"),
        ("warmup", 1.0, "--warmup must be a share"),
        ("ema", 1.0, "--ema must be between 0 and 1"),
        ("epsilon", 0.0, "--epsilon must be above 0, got 0.0"),
        ("accumulate", 0, "--accumulate must be 1 or more"),
        ("momentum", 1.5, "--momentum must be from 0 to below 1, got 1.5"),
        ("momentum", math.nan, "--momentum must be from 0 to below 1, got nan"),
        ("step_factor", -1.0, "--step-factor must be 0 or more, got -1.0"),
        ("power", -2.0, "--power must be 0 or more, got -2.0"),
        ("learning_rate", math.inf, "--learning-rate must be finite, got inf"),
        ("step_factor", math.inf, "--step-factor must be finite, got inf"),
        ("power", math.nan, "--power must be finite, got nan"),
        ("weight_decay", math.inf, "--weight-decay must be finite, got inf"),
        ("epsilon", math.inf, "--epsilon must be finite, got inf"),
    ],
)
def test_bad_options_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**{option: value})


def test_groups_of_parameters_have_rates_of_their_own():
    params = {"backbone": {"conv1": {"kernel": jnp.ones((2, 2))}, "conv2": {"kernel": jnp.ones((2, 2))}},
              "head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}  # fmt: skip
    config = OptimizerConfig(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0, learning_rate=0.5,
        group_rates=("backbone=0.1", "backbone/conv1=0", "head/bias=2"),
    )  # fmt: skip
    optimizer = make_optimizer(config, make_schedule(config, 10))
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    moved = {"backbone": {"conv1": {"kernel": 0.0}, "conv2": {"kernel": -0.05}}, "head": {"kernel": -0.5, "bias": -1.0}}
    jax.tree.map(lambda update, by: np.testing.assert_allclose(update, by, rtol=1e-6), updates, moved)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_moves_as_it_would_alone_at_its_rate(name):
    params = {
        "a": {"kernel": jnp.arange(6.0).reshape(2, 3) + 1},
        "b": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
    }
    options = {"optimizer": name, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.1}

    def updated(params, **others):
        config = OptimizerConfig(**options, **others)
        optimizer = make_optimizer(config, make_schedule(config, 10))
        return optimizer.update(params, optimizer.init(params), params)[0]

    together = updated(params, learning_rate=0.1, group_rates=("a=0.5",))
    alone = {
        group: updated({group: params[group]}, learning_rate=rate)[group] for group, rate in (("a", 0.05), ("b", 0.1))
    }
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), together, alone)


@pytest.mark.parametrize(
    ("group", "message"),
    [("head", "must be PATH=FACTOR, got 'head'"), ("head=x", "PATH=FACTOR"), ("head=-1", "factors of 0 or more")],
)
def test_groups_that_cannot_be(group, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(group_rates=(group,))


def test_groups_without_parameters():
    config = OptimizerConfig(group_rates=("backbone/conv9=0", "head=2"))
    with pytest.raises(ValueError, match="no parameter is below backbone/conv9; there are backbone/conv1, head/kernel"):
        make_optimizer(config, optax.constant_schedule(1.0)).init(
            {"backbone": {"conv1": {"kernel": jnp.ones(2)}}, "head": {"kernel": jnp.ones(2)}}
        )
