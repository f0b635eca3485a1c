"""Ensembles: members against single runs, averages against NumPy's, schedules against the papers' formulas."""

import dataclasses
import json
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from jaxvision.layers.norm import BatchNorm
from train import classification, ensemble, ensemble_scores
from train.shared.averaging import recompute_statistics, swa
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError
from train.shared.state import create_state, ema, stack
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)
SGD = OptimizerConfig(optimizer="sgd", learning_rate=0.02, ema=0.9)
SMALL = classification.Config(epochs=2, batch_size=256, augment="none", evaluate_every=1, devices=1, optimizer=SGD)


@pytest.fixture(scope="module", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Runs of these tests compile the same programs: once is enough."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def assert_close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


class TwoNorms(nn.Module):
    """A BatchNorm of the images themselves, and one of what a nonlinear layer makes of its output."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Dense(3, name="dense")(BatchNorm(train, name="first")(x)))
        return BatchNorm(train, name="second", momentum=0.3)(x)


def test_members_trained_together_equal_members_trained_alone():
    """In what each has of its own: weights, statistics, moving averages, momentum, random draws, batches."""

    def loss_fn(params, model_state, batch, rng, step):
        noisy = batch + jax.random.normal(rng, batch.shape)
        outputs, model_state = TwoNorms().apply(
            {"params": params, **model_state}, noisy, train=True, mutable=["batch_stats"]
        )
        return ((outputs**3).sum(), jnp.float32(len(batch))), (model_state, {})

    optimizer = optax.sgd(0.02, momentum=0.9)
    train_step = make_train_step(loss_fn, optimizer, after_update=ema(0.9))
    batches = RANDOM.randn(4, 16, 2, 2).astype(np.float32)  # [step, B, M, C]
    init = jax.jit(lambda key: TwoNorms().init(key, batches[0, :, 0], train=False))
    alone = [create_state(init(jax.random.key(k)), optimizer, jax.random.key(k + 2), average=True) for k in range(2)]
    state, step, step_alone = stack(alone), jax.jit(ensemble.together(train_step)), jax.jit(train_step)
    for batch in batches:
        state, metrics = step(state, batch)
        alone, sums = zip(*(step_alone(alone[k], batch[:, k]) for k in range(2)), strict=True)
        np.testing.assert_allclose(metrics["loss"], sums[0]["loss"] + sums[1]["loss"], rtol=1e-5)
    for k in range(2):
        assert_close(ensemble.member(state, k), alone[k])


@pytest.mark.slow
def test_a_member_is_the_run_of_its_seed():
    together = ensemble.build(ensemble.Config(members=2, training=SMALL))
    state, metrics = together.advance(together.state, 0, 3)
    alone = classification.build(dataclasses.replace(SMALL, seed=1))
    expected, _ = alone.advance(alone.state, 0, 3)
    assert_close(ensemble.member(state, 1), expected)
    assert metrics["count"] == 2 * 3 * 256


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_late_epochs():
    def loss_fn(params, model_state, batch, rng, step):
        return (((params["w"] - batch) ** 2).sum(), jnp.float32(1)), (
            {"stats": {"seen": model_state["stats"]["seen"] + 1.0}},
            {},
        )

    optimizer = optax.sgd(0.3)
    variables = {"params": {"w": jnp.array(RANDOM.randn(4), jnp.float32)}, "stats": {"seen": jnp.zeros(())}}
    state = create_state(variables, optimizer, jax.random.key(0), average=True)
    step = jax.jit(make_train_step(loss_fn, optimizer, after_update=swa(start=4, every=3)))
    weights, seen = [], []
    for number in range(1, 13):
        state, _ = step(state, jnp.array(RANDOM.randn(4), jnp.float32))
        if number in (4, 7, 10):
            weights.append(np.asarray(state.params["w"], np.float64))
            seen.append(number)
        expected = np.mean(weights, 0) if weights else state.params["w"]
        np.testing.assert_allclose(state.average["params"]["w"], expected, rtol=2e-6)
    np.testing.assert_allclose(state.average["stats"]["seen"], np.mean(seen), rtol=1e-6)


def two_norms_loss(params, model_state, batch, rng, step):
    variables = {"params": params, **model_state}
    outputs, model_state = TwoNorms().apply(variables, batch, train=True, mutable=["batch_stats"])
    return (outputs.sum(), jnp.float32(len(batch))), (model_state, {})


def test_recomputed_statistics_are_those_of_the_whole_set():
    images = (RANDOM.randn(12, 5, 5, 2) * [1, 3] + [2, -4]).astype(np.float32)
    variables = jax.jit(lambda key: TwoNorms().init(key, jnp.array(images), train=False))(jax.random.key(1))
    whole = recompute_statistics(two_norms_loss, variables, [images], jax.random.key(0))
    x = images.astype(np.float64).reshape(-1, 2)
    dense = jax.tree.map(np.float64, variables["params"]["dense"])
    hidden = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) @ dense["kernel"] + dense["bias"], 0)
    for name, values in (("first", x), ("second", hidden)):
        found = whole["batch_stats"][name]
        np.testing.assert_allclose(found["mean"], values.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found["var"], values.var(0, ddof=1), rtol=1e-5)
    # Uneven batches, of which the second is another data set altogether: the first layer still sees all of it.
    parts = recompute_statistics(two_norms_loss, variables, [images[:3], images[3:]], jax.random.key(0))
    np.testing.assert_allclose(parts["batch_stats"]["first"]["var"], x.var(0, ddof=1), rtol=1e-5)
    assert whole["params"] is variables["params"]
    assert recompute_statistics(two_norms_loss, {"params": {}}, [images], jax.random.key(0)) == {"params": {}}


def test_schedules_are_those_of_the_papers():
    options = OptimizerConfig(learning_rate=0.2, warmup=0.0)
    cyclic = ensemble.snapshot_schedule(options, 60, cycles=3)
    t = np.arange(60)
    # Equation 2 of https://arxiv.org/abs/1704.00109, its t counted from one.
    np.testing.assert_allclose([cyclic(s) for s in t], 0.1 * (np.cos(np.pi * (t % 20) / 20) + 1), rtol=1e-5, atol=1e-8)
    constant = ensemble.swa_schedule(options, start=40, share=0.25)
    assert float(constant(0)) == pytest.approx(0.2)
    assert float(constant(20)) == pytest.approx((0.2 + 0.05) / 2)
    np.testing.assert_allclose([constant(s) for s in (40, 41, 59)], 0.05, rtol=1e-6)


def test_an_ensemble_is_the_mean_of_its_members_probabilities():
    probabilities = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.2, 0.8], [0.1, 0.9]]], np.float32)
    scores = ensemble_scores.score_ensemble(probabilities, np.array([0, 1]))
    assert scores["accuracy"] == 1.0
    assert scores["loss"] == pytest.approx(-(np.log(0.55) + np.log(0.75)) / 2)
    impossible = ensemble_scores.score_ensemble(np.array([[[1.0, 0.0]]], np.float32), np.array([1]))
    assert impossible == {"loss": pytest.approx(-np.log(2.0**-126)), "accuracy": 0.0}
    grown = ensemble_scores.growth(np.concatenate([probabilities, probabilities[:1]]), np.array([0, 1]))
    assert [len(scores) for scores in grown.values()] == [3, 3, 1]
    assert grown[2][0] == scores


def stop_at(monkeypatch, step: int) -> None:
    """Asks the process to stop, as a scheduler does, at the evaluation of a step."""
    validate = ensemble.validate

    def stopping(config, experiment, state):
        if state.step[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(config, experiment, state)

    monkeypatch.setattr(ensemble, "validate", stopping)


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("snapshots", "swa")]


@pytest.mark.parametrize("method", ["seeds", *SLOW])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(method, tmp_path, monkeypatch):
    config = lambda name: ensemble.Config(
        members=2, method=method, swa_start=0.5, training=dataclasses.replace(SMALL, run_dir=tmp_path / name)
    )
    whole = ensemble.run(config("whole"))
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(SystemExit, match="stopped by SIGTERM at step 4, which is saved"):
            ensemble.run(config("stopped"))
    assert ensemble.run(config("stopped")) == whole == json.loads((tmp_path / "whole" / "result.json").read_text())
    names = {"seeds": "01", "snapshots": "01", "swa": ["last", "ema", "swa"]}[method]
    model = jv.create_model("lenet5")
    for name in names:
        a, b = (
            jv.load_weights(model, tmp_path / run / "members" / name / "weights.safetensors")
            for run in ("whole", "stopped")
        )
        assert all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
    assert "<html" in (tmp_path / "whole" / "report.html").read_text()
    with pytest.raises(RunError, match=r"members: 2 there, 3 asked for|swa_rate: 0.2 there"):
        ensemble.run(dataclasses.replace(config("whole"), members=3, swa_rate=0.5, method="seeds"))


def test_members_share_the_plateaus_of_their_ensemble_and_its_end(tmp_path):
    """Where nothing is learnt, every evaluation but the first is a plateau, and the third ends the run."""
    options = {"learning_rate": 1e-12, "warmup": 0.0, "schedule": "plateau", "plateau": 1}
    training = dataclasses.replace(
        SMALL, epochs=6, patience=3, run_dir=tmp_path / "run", optimizer=dataclasses.replace(SGD, **options)
    )
    ensemble.run(ensemble.Config(members=2, training=training))
    rates = [record["learning_rate"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    np.testing.assert_allclose(rates, [1e-12, 1e-12, 1e-13, 1e-14], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"training": classification.Config(seed=2**63 - 3), "members": 4},
            "--seed must be 9223372036854775804 or less",
        ),
        ({"members": 1}, "--members must be 2 or more, got 1"),
        ({"swa_start": 1.0}, "--swa-start must be between 0 and 1, got 1.0"),
        ({"swa_rate": 0.0}, "--swa-rate must be above 0 and at most 1, got 0.0"),
        ({"method": "snapshots", "members": 3}, "--epochs 100 is not a multiple of --members 3 snapshots"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ensemble.Config(**options)
    with pytest.raises(ValueError, match="--method swa has a schedule of its own: leave --schedule out"):
        ensemble.Config(method="swa", training=classification.Config(optimizer=OptimizerConfig(schedule="step")))
    with pytest.raises(ValueError, match="--patience ends a run early: --method swa needs all of it"):
        ensemble.Config(method="swa", training=classification.Config(patience=1))
