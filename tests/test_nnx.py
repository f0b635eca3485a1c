"""The README's recipe for NNX, run as it stands there, against the same step in Linen."""

import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import jaxvision as jv

README = Path(__file__).parents[1] / "README.md"
IMAGES = np.random.RandomState(0).randn(4, 32, 32, 3).astype(np.float32)
LABELS = np.array([1, 2, 3, 4])


@pytest.fixture
def recipe():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return next(block for block in blocks if "nnx.bridge" in block)


def test_a_step_in_nnx_is_the_step_in_linen(recipe):
    model = jv.create_model("resnet8")
    variables = jv.init(model, jax.random.key(1))
    names = {"optax": optax, "model": model, "variables": variables, "images": IMAGES}
    exec(recipe, names)
    net = names["net"]
    np.testing.assert_array_equal(net(IMAGES, train=False), model.apply(variables, IMAGES, train=False))
    loss = names["step"](net, names["optimizer"], IMAGES, LABELS)

    expected_loss, params, state = linen_step(model, variables)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    for kind, expected in ((nnx.Param, params), (nnx.BatchStat, state["batch_stats"])):
        found = nnx.to_pure_dict(nnx.state(net, kind))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def linen_step(model, variables):
    """One step of SGD by hand: the loss, the new parameters, the new statistics."""

    def loss_fn(params):
        logits, state = model.apply({**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean(), state

    (loss, state), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(variables["params"])
    return loss, jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient), state
