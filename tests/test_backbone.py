"""Backbones of tasks beyond classification: whose weights they begin with, and what freezing leaves alone."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.rnn.captioner import Captioner
from jaxvision.rnn.video import VideoClassifier
from train.backbone import BackboneConfig, create_classifier, expected_images, initial_variables, rates
from train.data.images import Preprocessing
from train.shared.optimizer import OptimizerConfig, make_optimizer
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.video import make_loss_fn

FIELDS = {"model": "resnet8", "in_channels": 1, "dtype": "float32"}
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def classifier(tmp_path, **fields):
    """The variables of a classifier, which are no initial ones, and a file of them."""
    model = create_classifier({**FIELDS, **fields})
    variables = jax.tree.map(lambda leaf: leaf + 0.01, jv.init(model, jax.random.key(1)))
    jv.save_weights(model, variables, tmp_path / "weights.safetensors")
    return variables, BackboneConfig(fields.get("model", "resnet8"), str(tmp_path / "weights.safetensors"), frozen=True)


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_what_a_task_has_no_use_for_is_left_out(tmp_path):
    fields = {**FIELDS, "model": "lenet5"}
    variables, config = classifier(tmp_path, model="lenet5")
    model = Captioner(create_classifier(fields).backbone, 5, hidden=4, embedding=3)
    found = initial_variables(config, model, fields, jax.random.key(0))["params"]["backbone"]
    assert_same(found, {name: variables["params"]["backbone"][name] for name in ("c1", "c3", "c5")})


def test_a_frozen_backbone_stays_as_its_weights_are(tmp_path):
    variables, config = classifier(tmp_path)
    model = VideoClassifier(create_classifier(FIELDS).backbone, 3, hidden=4, frozen=True)
    found = initial_variables(config, model, FIELDS, jax.random.key(0))
    optimizer = make_optimizer(rates(config, OptimizerConfig(weight_decay=0.1)), lambda step: 0.1)
    state = create_state(found, optimizer, jax.random.key(0))
    step = jax.jit(make_train_step(make_loss_fn(model, Preprocessing((0.5,), (0.3,), 8)), optimizer))
    frames = np.random.RandomState(0).randint(0, 256, (2, 3, 8, 8, 1)).astype(np.uint8)
    state, _ = step(state, {"frames": frames, "length": np.array([3, 2]), "label": np.array([0, 2])})
    assert_same(state.params["backbone"], variables["params"]["backbone"])
    assert_same(state.model_state["batch_stats"]["backbone"], variables["batch_stats"]["backbone"])
    assert np.abs(state.params["head"]["kernel"] - found["params"]["head"]["kernel"]).max() > 1e-3


def test_images_are_normalised_as_the_weights_or_the_images_want_it():
    own = lambda: (np.array([0.25], np.float32), np.array([0.5], np.float32))
    assert expected_images(BackboneConfig("resnet8"), 1, 24, own) == Preprocessing((0.25,), (0.5,), 24)
    published = BackboneConfig("resnet18", "published")
    three = expected_images(published, 3, 224, own)
    assert three.mean == pytest.approx((0.485, 0.456, 0.406))
    with pytest.raises(ValueError, match="--weights published are for images of 3 channels, these have 1"):
        expected_images(published, 1, 224, own)
