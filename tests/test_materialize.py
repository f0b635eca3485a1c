"""An identity that XLA's CPU compiler computes once, and what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.classifier import classifier
from jaxvision.cnn.resnet import BasicBlock, PreActBasicBlock, ResNet
from jaxvision.initialize import abstract_variables
from jaxvision.ops.materialize import materializer

X = jnp.asarray(np.random.RandomState(0).randn(4, 8, 8, 3), jnp.float32)


@pytest.mark.parametrize("witness", [1.0, jnp.nan, jnp.inf])
def test_value_and_gradient_are_those_of_the_identity(witness):
    keep = materializer(jnp.full((1, 2), witness))
    np.testing.assert_array_equal(jax.jit(keep)(X), X)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: (keep(x) ** 2).sum()))(X)
    np.testing.assert_allclose(value, (X**2).sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient, 2 * X)


@pytest.mark.parametrize("block", [BasicBlock, PreActBasicBlock])
def test_a_residual_network_adds_in_proportion_to_its_depth(block):
    """Without, each block adds up again what all before it gave: 806 sums at depth 4, 2,034 at depth 8."""
    sums = []
    for depth in (2, 4, 6):
        model = classifier(ResNet, block=block, depths=(depth,), widths=(8,), shortcut="pad", stem="cifar")
        variables = abstract_variables(model)

        def loss(params, state, images, model=model):
            logits, _ = model.apply({"params": params, **state}, images, train=True, mutable=["batch_stats"])
            return logits.sum()

        params, state = variables["params"], {"batch_stats": variables["batch_stats"]}
        program = jax.jit(jax.grad(loss)).lower(params, state, X).compile().as_text()
        sums.append(program.count(" add("))
    assert sums[2] - sums[1] == sums[1] - sums[0]
