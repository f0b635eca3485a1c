"""Every registered model lowers for the accelerators that are not here."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import export

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from tests.reference import cases
from train.shared.losses import cross_entropy
from train.shared.state import create_state
from train.shared.step import make_train_step

PLATFORMS = ("cuda", "tpu")


one_of_each_family_at_once = pytest.mark.parametrize("name", cases.others_in_slow_set(cases.first_of_each_family()))


@one_of_each_family_at_once
def test_forward_pass(name):
    model = jv.create_model(name, num_classes=7)
    forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    exported = export.export(forward, platforms=PLATFORMS)(abstract_variables(model), model.example_input())
    assert exported.platforms == PLATFORMS
    assert [(out.shape, out.dtype) for out in exported.out_avals] == [((1, 7), jnp.float32)]


@one_of_each_family_at_once
def test_train_step(name):
    lower_train_step(jv.create_model(name, num_classes=7))


@pytest.mark.parametrize("name", ["vit_tiny_patch4_32", "swin_tiny_patch2_window4_32"])
def test_blocks_in_a_loop(name):
    lower_train_step(jv.create_model(name, num_classes=7, scan=True, remat=True))


def lower_train_step(model):
    image = model.example_input()

    def loss_fn(params, model_state, batch, rng, step):
        del step
        variables, options = {"params": params, **model_state}, {"mutable": list(model_state), "rngs": {"dropout": rng}}
        logits, model_state = model.apply(variables, batch["image"], train=True, **options)
        loss = cross_entropy(logits, batch["label"])
        return (loss.sum(), jnp.float32(len(loss))), (model_state, {})

    optimizer = optax.sgd(0.1, momentum=0.9)
    make_state = lambda variables: create_state(variables, optimizer, jax.random.key(0))
    state = jax.eval_shape(make_state, abstract_variables(model))
    batch = {"image": image, "label": jax.ShapeDtypeStruct((1,), jnp.int32)}
    step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    exported = export.export(step, platforms=PLATFORMS)(state, batch)
    assert exported.platforms == PLATFORMS
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [
        out.shape for out in exported.out_avals[: len(jax.tree.leaves(state))]
    ]
