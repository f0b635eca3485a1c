"""Auxiliary heads: sown in training, absent in inference, with weights of their own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.weights import WeightsError, from_foreign, to_foreign
from tests.reference import cases
from tests.reference.case import to_run_once
from train.classification import Config, make_loss_fn
from train.data.images import Preprocessing
from train.shared.losses import LossConfig, cross_entropy

BUILD = cases.TINY["inception"].build
IMAGES = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
LABELS = np.array([1, 0, 2])


def random_variables(model, seed=0):
    draw = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: draw.uniform(0.1, 1, leaf.shape).astype(np.float32), abstract_variables(model))


def is_of_head(path):
    return any(part.startswith("aux") for part in path)


def leaves(variables):
    return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


@pytest.fixture(scope="module")
def trained():
    """A model, its variables, and what it gives and sows in training."""
    model = BUILD(num_classes=5)
    variables = random_variables(model)
    images = IMAGES.astype(np.float32) / 255
    train = lambda variables, images: model.apply(variables, images, train=True, mutable=["batch_stats", "auxiliary"])
    return model, variables, images, to_run_once(train)(variables, images)


def test_logits_are_returned_and_auxiliary_ones_sown(trained):
    model, variables, images, (logits, state) = trained
    assert logits.shape == (3, 5)
    assert jax.tree.map(np.shape, state["auxiliary"]) == {
        "backbone": {"aux1_logits": ((3, 5),), "aux2_logits": ((3, 5),)}
    }
    _, unasked = jax.eval_shape(partial(model.apply, train=True, mutable=["batch_stats"]), variables, images)
    assert set(unasked) == {"batch_stats"}
    _, inferred = jax.eval_shape(partial(model.apply, train=False, mutable=["auxiliary"]), variables, images)
    assert inferred == {}


def test_heads_have_variables_from_the_start():
    assert set(abstract_variables(BUILD())) == {"params", "batch_stats"}
    for model in (BUILD(aux_logits=False), BUILD(num_classes=0)):
        assert not any(map(is_of_head, leaves(abstract_variables(model))))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    drawn = jax.eval_shape(lambda x: BUILD().init(jax.random.key(0), x, train=True), images)
    assert jax.tree.map(np.shape, drawn) == jax.tree.map(np.shape, abstract_variables(BUILD()))


def test_classification_adds_their_losses(trained):
    model, variables, _, (logits, state) = trained
    config = Config(augment="none", loss=LossConfig(label_smoothing=0.1))
    loss_fn = make_loss_fn(model, Preprocessing((0.0,) * 3, (1.0,) * 3, 32), config)
    model_state = {"batch_stats": variables["batch_stats"]}
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.asarray(LABELS)}
    run = to_run_once(partial(loss_fn, step=0))
    (loss, count), (updated, _) = run(variables["params"], model_state, batch, jax.random.key(0))
    first, second = (state["auxiliary"]["backbone"][name][0] for name in ("aux1_logits", "aux2_logits"))
    of = lambda outputs: float(cross_entropy(outputs, LABELS, 0.1).sum())
    np.testing.assert_allclose(loss, of(logits) + 0.3 * (of(first) + of(second)), rtol=1e-5)
    assert count == 3
    assert jax.tree.structure(updated) == jax.tree.structure(model_state)


@pytest.mark.parametrize("layout", ["torchvision", "jaxvision"])
def test_files_with_heads_for_a_model_without(layout):
    model = BUILD(num_classes=5)
    variables = random_variables(model)
    arrays = to_foreign(model, variables, layout)
    expected = {path: leaf for path, leaf in leaves(variables).items() if not is_of_head(path)}
    for options, dropped in (({"num_classes": 5, "aux_logits": False}, None), ({"num_classes": 0}, "head")):
        found = leaves(from_foreign(BUILD(**options), arrays))
        assert found.keys() == {path for path in expected if dropped not in path}
        assert all(np.array_equal(leaf, expected[path]) for path, leaf in found.items())
    with pytest.raises(WeightsError, match=r"unused \(1\):\s+aux3"):
        from_foreign(BUILD(num_classes=5, aux_logits=False), {**arrays, "aux3.x": np.zeros(2, np.float32)})
    without = {key: array for key, array in arrays.items() if "aux2" not in key}
    with pytest.raises(WeightsError, match="missing"):
        from_foreign(model, without)


def test_new_heads():
    arrays = to_foreign(BUILD(num_classes=5), random_variables(BUILD(num_classes=5)), "torchvision")
    model, key = BUILD(num_classes=7), jax.random.key(1)
    with pytest.raises(WeightsError, match="classes: 7 in the model, 5 in the file; new_head="):
        from_foreign(model, arrays)
    found, drawn = leaves(from_foreign(model, arrays, new_head=key)), leaves(jv.init(model, key))
    old = leaves(random_variables(BUILD(num_classes=5)))
    new = {path for path in found if "head" in path}
    assert len(new) == 6
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, drawn[path] if path in new else old[path], rtol=1e-5, atol=1e-7)
