"""Plateaus against PyTorch's ReduceLROnPlateau, and what a scale in the optimizer's state does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.shared.mesh import make_mesh, replicated
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule, set_scale
from train.shared.plateau import plateaus, since_best
from train.shared.state import create_state

RISING_AND_FALLING = [0.1, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6]


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([], 1, 0),
        ([0.5], 1, 0),
        ([0.5, 0.5, 0.6, 0.5, 0.5], 1, 3),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 2, 2),
        ([0.5, 0.4, 0.6, 0.5, 0.7], 2, 0),
        ([float("nan"), 0.1, float("nan"), float("nan")], 2, 1),
    ],
)
def test_plateaus_by_hand(values, patience, expected):
    assert plateaus(values, patience) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([0.5, 0.7, math.nan, 0.7, 0.6], 3),
        ([0.5, 0.7, math.nan, 0.7, 0.6, 0.71], 0),
        ([math.nan, math.nan, math.nan], 2),
    ],
)
def test_values_since_the_best_by_hand(values, expected):
    assert since_best(values) == expected


@pytest.mark.reference
@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_plateaus_are_torchs(patience):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    options = {"mode": "max", "factor": 0.5, "patience": patience - 1, "threshold": 0.0}
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    for n, value in enumerate(RISING_AND_FALLING, start=1):
        schedule.step(value)
        assert optimizer.param_groups[0]["lr"] == 0.5 ** plateaus(RISING_AND_FALLING[:n], patience)


def test_updates_are_multiplied_by_the_scale_on_every_device():
    config = OptimizerConfig("sgd", 0.1, "plateau", momentum=0.9, weight_decay=0.0, clip_norm=100.0)
    optimizer = make_optimizer(config, make_schedule(config, 1))
    state = create_state({"params": {"kernel": jnp.ones((2, 2))}}, optimizer, jax.random.key(0))
    state = jax.device_put(state, replicated(make_mesh(8)))
    scaled = set_scale(state, 0.25)
    assert jax.tree.map(lambda leaf: leaf.sharding, scaled) == jax.tree.map(lambda leaf: leaf.sharding, state)
    whole, quarter = (optimizer.update(s.params, s.opt_state, s.params)[0]["kernel"] for s in (state, scaled))
    np.testing.assert_allclose(quarter, 0.25 * whole, rtol=1e-7)
    assert optax.tree.get(scaled.opt_state, "step_size") == 0.25
