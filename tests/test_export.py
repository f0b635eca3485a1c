"""Every registered model lowers for the accelerators that are not here."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

import jaxvision as jv
from jaxvision.initialize import abstract_variables

PLATFORMS = ("cuda", "tpu")


@pytest.mark.parametrize("name", jv.list_models())
def test_forward_pass(name):
    model = jv.create_model(name, num_classes=7)
    forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    exported = export.export(forward, platforms=PLATFORMS)(abstract_variables(model), model.example_input())
    assert exported.platforms == PLATFORMS
    assert [(out.shape, out.dtype) for out in exported.out_avals] == [((1, 7), jnp.float32)]
