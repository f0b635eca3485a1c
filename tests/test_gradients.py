"""Training mode in float64 against the stored results of the reference implementations (see tests/reference).

Logits, loss, gradients, statistics of BatchNorm and two optimizer steps, of one short network for each kind of block.
Whole networks are in the slow set, and short ones whose parts are in others. In float32 gradients through BatchNorm are
too badly conditioned to compare.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.weights import from_foreign, to_foreign
from tests.reference import cases
from tests.reference.case import LEARNING_RATE, NUM_CLASSES, WEIGHT_DECAY
from tests.reference.random_values import random_images, random_labels, random_weights
from tests.reference.stored import disagreements, read
from train.shared.optimizer import OptimizerConfig, make_optimizer

RELATIVE = 1e-8
SLOW = cases.PARTS_ARE_IN_OTHERS
AT_ONCE = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in cases.SHORT]

OPTIMIZER = make_optimizer(
    OptimizerConfig("sgd", momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY),
    optax.constant_schedule(LEARNING_RATE),
)


def test_every_network_has_a_reference():
    stored = {path.stem for path in cases.training_file("lenet5").parent.glob("*.npz")}
    assert set(cases.NETWORKS) == set(cases.TRAINING) == stored


def test_no_family_is_in_the_slow_set_alone():
    assert all(set(family.short) - set(SLOW) for family in cases.FAMILIES)


@pytest.mark.parametrize("name", AT_ONCE)
def test_training(name):
    check_training(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.WHOLE)
def test_training_of_whole_networks(name):
    check_training(name)


def check_training(name):
    expected = read(cases.training_file(name))
    with jax.enable_x64(True):
        logits, tensors = two_steps(name, expected.shapes)
    np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=RELATIVE * expected.logits.std())
    assert not disagreements(tensors, expected.fingerprints, RELATIVE)


def two_steps(name, shapes):
    """Returns the logits before the first step, and by name the other tensors that are stored."""
    case = cases.TRAINING[name]
    model = cases.NETWORKS[name](num_classes=NUM_CLASSES, dtype=jnp.float64)
    images = jnp.asarray(random_images(4, case.image).transpose(0, 2, 3, 1), jnp.float64)
    before = from_foreign(model, random_weights(shapes, case.damped), case.layout, dtype=jnp.float64)
    opt_state = jax.jit(OPTIMIZER.init)(before["params"])
    middle, opt_state, logits, loss, (gradient, image_gradient) = take_step(model, before, opt_state, images)
    after, _, _, second_loss, _ = take_step(model, middle, opt_state, images)

    foreign = partial(to_foreign, model, layout=case.layout, dtype=np.float64)
    subtract = lambda new, old: np.asarray(new) - np.asarray(old)  # in NumPy, which compiles nothing
    changes = foreign({**after, "params": jax.tree.map(subtract, after["params"], before["params"])})
    tensors = {"loss": loss, "second loss": second_loss, "gradient of images": image_gradient.transpose(0, 3, 1, 2)}
    for key, array in foreign({**middle, "params": gradient}).items():
        if "running_" in key:
            tensors[key] = array
        elif key in shapes:
            tensors |= {f"gradient of {key}": array, f"change of {key}": changes[key]}
    return logits, tensors


@partial(jax.jit, static_argnums=0)
def take_step(model, variables, opt_state, images):
    """Takes an optimizer step on the mean cross entropy; returns new variables and what led to them."""
    labels = random_labels(len(images), NUM_CLASSES)
    cross_entropy = lambda logits: optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def loss_fn(params, images):
        mutable = ["batch_stats", "auxiliary"]
        logits, state = model.apply({**variables, "params": params}, images, train=True, mutable=mutable)
        auxiliary = [cross_entropy(output) for output in jax.tree.leaves(state.pop("auxiliary", {}))]
        return cross_entropy(logits) + model.auxiliary_weight * sum(auxiliary), (logits, state)

    params = variables["params"]
    (loss, (logits, state)), gradients = jax.value_and_grad(loss_fn, (0, 1), has_aux=True)(params, images)
    updates, opt_state = OPTIMIZER.update(gradients[0], opt_state, params)
    return {"params": optax.apply_updates(params, updates), **state}, opt_state, logits, loss, gradients
