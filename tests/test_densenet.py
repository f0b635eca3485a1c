"""Densely connected networks: recomputation, and the names in the files that torchvision has published."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.weights import from_foreign, to_foreign

IMAGES = np.random.RandomState(0).randn(4, 32, 32, 3)


def model(**options):
    return jv.create_model("densenet_bc100_12", depths=(6, 2), growth_rate=4, stem_width=8, **options)


def random_variables(model, dtype=np.float32):
    draw = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: draw.uniform(0.5, 1, leaf.shape).astype(dtype), abstract_variables(model))


@functools.partial(jax.jit, static_argnums=0)
def gradient(model, variables, images, key):
    def loss(params, images):
        variables_now, rngs = {**variables, "params": params}, {"dropout": key}
        logits, state = model.apply(variables_now, images, train=True, mutable=["batch_stats"], rngs=rngs)
        return jnp.square(logits).sum(), state

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(variables["params"], images)


def test_recomputation_changes_no_gradient():
    """Nor what is dropped, nor the statistics."""
    with jax.enable_x64(True):
        variables = random_variables(model(), np.float64)
        options = {"dtype": jnp.float64, "dropout": 0.3}
        kept, again = (
            gradient(model(remat=remat, **options), variables, IMAGES, jax.random.key(1)) for remat in (False, True)
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), kept, again)


def test_recomputation_keeps_less():
    """Of a layer only its output, a fraction of what it computes within. (XLA's CPU compiler undoes it again.)"""

    def kept(remat):
        """Bytes that wait for the backward pass."""
        run = lambda variables: model(remat=remat).apply(variables, IMAGES, train=True, mutable=["batch_stats"])[0]
        pull_back = jax.eval_shape(lambda variables: jax.vjp(run, variables)[1], abstract_variables(model()))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pull_back))

    assert kept(remat=True) < 0.7 * kept(remat=False)


@pytest.mark.parametrize("name", ["densenet121", "densenet201"])
def test_files_with_the_names_of_torchvision_0_2(name):
    net = jv.create_model(name, depths=(2, 1))
    variables = random_variables(net)
    arrays = to_foreign(net, variables, "torchvision")
    published = {  # the inverse of what torchvision.models.densenet._load_state_dict does to them
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: array
        for key, array in arrays.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer2.norm.1.running_mean" in published
    assert "features.denseblock2.denselayer1.conv.2.weight" in published
    jax.tree.map(np.testing.assert_array_equal, from_foreign(net, published), variables)
    assert from_foreign(net, arrays).keys() == variables.keys()
