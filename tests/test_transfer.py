"""Training that starts from other weights: what is kept, what is drawn anew, what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

import jaxvision as jv
from jaxvision.layers.image import renormalize
from jaxvision.weights.published import PUBLISHED
from train import classification, transfer
from train.data.images import Preprocessing
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, read_json
from train.transfer import TransferConfig


def config(directory, **options):
    return classification.Config(epochs=1, batch_size=128, devices=1, run_dir=directory, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run to start from, of images that are normalised otherwise than the digits."""
    directory = tmp_path_factory.mktemp("transfer") / "first"
    classification.run(config(directory, optimizer=OptimizerConfig(ema=None)))
    return directory


def test_a_kept_head_scores_as_before(first, tmp_path):
    kept = classification.build(config(tmp_path / "run", transfer=TransferConfig(str(first), keep_head=True)))
    scores, _, _ = kept.evaluator(kept.state.variables, kept.data.test)
    assert scores["accuracy"] == read_json(first / "result.json")["test_accuracy"]


def test_the_head_alone_is_trained_where_the_backbone_has_no_rate(first, tmp_path):
    file = first / "weights.safetensors"
    frozen = OptimizerConfig(ema=None, warmup=0.0, group_rates=("backbone=0",))
    begun = classification.build(config(tmp_path / "run", transfer=TransferConfig(str(file)), optimizer=frozen))
    drawn = np.array(begun.state.params["head"]["kernel"])
    state, _ = begun.advance(begun.state, 0, 1)
    there = {name: value for name, value in load_file(file).items() if "backbone" in name}
    now = {f"params/{'/'.join(path)}": value for path, value in flatten_dict(state.params).items()}
    assert len(there) == 8
    for name, value in there.items():
        np.testing.assert_array_equal(now[name], value)
    assert np.abs(now["params/head/kernel"] - drawn).min() > 1e-4


def test_what_weights_expect_of_images_is_kept(first, tmp_path, monkeypatch):
    about = read_json(first / "model.json") | {"mean": [0.25], "std": [0.75]}
    monkeypatch.setattr("train.trained.read_json", lambda path: about)
    experiment = classification.build(config(tmp_path / "run", transfer=TransferConfig(str(first))))
    assert (experiment.preprocessing.mean, experiment.preprocessing.std) == ((0.25,), (0.75,))
    head = experiment.state.params["head"]["kernel"]
    anew = classification.build(config(tmp_path / "run")).state.params
    np.testing.assert_allclose(head, anew["head"]["kernel"], atol=1e-6)  # drawn with the key of the seed
    assert not np.array_equal(experiment.state.params["backbone"]["c1"]["kernel"], anew["backbone"]["c1"]["kernel"])


def test_the_head_alone_is_drawn_narrower():
    model = jv.create_model("lenet5")
    as_it_is, narrower = (
        flatten_dict(transfer.initial_variables(config, "lenet5", model, jax.random.key(0)))
        for config in (TransferConfig(), TransferConfig(head_init_scale=0.1))
    )
    kernel = "params", "head", "kernel"
    np.testing.assert_allclose(narrower.pop(kernel), 0.1 * as_it_is.pop(kernel))
    jax.tree.map(np.testing.assert_array_equal, narrower, as_it_is)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_of_a_model_that_normalises_anew(name, monkeypatch):
    """The images that are normalised once are those that are normalised twice."""
    published, pixels = TransferConfig("published"), np.random.RandomState(0).rand(1, 4, 4, 3).astype(np.float32)
    once = Preprocessing(*transfer.statistics(published, name), 4).normalize(pixels)
    expected = jv.preprocessing(name)
    twice = renormalize(Preprocessing(expected.mean, expected.std, 4).normalize(pixels))
    np.testing.assert_allclose(once, twice, atol=1e-6)
    model, loaded = jv.create_model(name, num_classes=10), []
    monkeypatch.setattr(jv, "load_weights", lambda model, source, **options: loaded.append((model, source)))
    transfer.initial_variables(published, name, model, jax.random.key(0))
    assert loaded == [(model, PUBLISHED[f"{name}.tv_in1k"].source)]
    assert not model.backbone.transform_input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": "published"}, ValueError, "lenet5"),
        ({"weights": "nowhere.safetensors"}, OSError, "nowhere.safetensors"),
    ],
)
def test_weights_that_there_are_not(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        classification.build(config(tmp_path / "run", transfer=TransferConfig(**options)))


def test_weights_that_do_not_fit(first, tmp_path):
    other = dataclasses.replace(config(tmp_path / "run", transfer=TransferConfig(str(first))), model="resnet8")
    with pytest.raises(RunError, match=f"--weights {first} is a run of lenet5, not of resnet8"):
        classification.build(other)
    published = dataclasses.replace(other, model="resnet18", transfer=TransferConfig("published"))
    with pytest.raises(ValueError, match="--weights published are for images of 3 channels, --data digits has 1"):
        classification.build(published)
    with pytest.raises(ValueError, match="--keep-head keeps the head of --weights"):
        TransferConfig(keep_head=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_init_scale": -1.0}, "--head-init-scale must be finite and 0 or more, got -1.0"),
        ({"head_init_scale": float("nan")}, "--head-init-scale must be finite and 0 or more, got nan"),
        ({"weights": "published", "keep_head": True, "head_init_scale": 0.1}, "--keep-head draws none"),
    ],
)
def test_heads_that_cannot_be_scaled(options, message):
    with pytest.raises(ValueError, match=message):
        TransferConfig(**options)
