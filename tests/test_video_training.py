"""Training a classifier of videos: the loss, what is measured, and a short run."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.rnn.video import VideoClassifier
from tests.backbone import Backbone
from tests.reference import video_cases as cases
from train import predict_video, video
from train.backbone import BackboneConfig
from train.data import motions
from train.data.image_files import ReadingConfig
from train.data.images import Preprocessing
from train.data.videos import Clips, load_videos
from train.shared import mesh as mesh_module
from train.shared.feed import ShuffledOrder, resident
from train.shared.mesh import make_mesh
from train.shared.metrics import read_metrics
from train.shared.run import RunError, start_run
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.trained import read_about
from train.video import Config, Evaluator, create_video_classifier, make_loss_fn, seen

RANDOM = np.random.RandomState(0)
PREPROCESSING = Preprocessing((0.5,) * 2, (0.3,) * 2, 4)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def small(dtype=jnp.float32, **fields):
    model = VideoClassifier(Backbone(dtype), 3, hidden=4, dtype=dtype, **fields)
    variables = jv.init(model, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: np.asarray(2 * leaf, dtype), variables)


def clips(size):
    frames = RANDOM.randint(0, 256, (size, 3, *cases.IMAGE)).astype(np.uint8)
    return Clips(frames, RANDOM.randint(1, 4, size), RANDOM.randint(0, 3, size))


def test_measures_are_of_the_whole_split():
    model, variables = small()
    split = clips(7)
    batch = split.arrays
    logits = np.float64(jax.jit(partial(model.apply, train=False))(variables, seen(batch, PREPROCESSING)))
    losses = -log_softmax(logits, -1)[np.arange(7), split.labels]
    evaluator = Evaluator(model, PREPROCESSING, make_mesh(2), batch_size=3)
    found, told, labels = evaluator(variables, split)
    np.testing.assert_array_equal(told, logits.argmax(-1))
    np.testing.assert_array_equal(labels, split.labels)
    assert found == pytest.approx({"loss": losses.mean(), "accuracy": (told == labels).mean()}, rel=1e-5)


def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    split = clips(16)

    def steps(mesh):
        model, variables = small(jnp.float64)
        optimizer = optax.sgd(0.3, momentum=0.9)
        state = create_state(variables, optimizer, jax.random.key(0))
        step = make_train_step(make_loss_fn(model, PREPROCESSING), optimizer)
        advance, state = resident(step, split.arrays, ShuffledOrder(16, 8, 0), state, mesh)
        return jax.device_get(advance(state, 0, 2))

    with jax.enable_x64(True):
        one, eight = steps(make_mesh(1)), steps(make_mesh(8, 2))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), eight, one)  # the loss is of float32


def train(directory, dies_at=None):
    """Trains for six steps, or dies before one of them; returns what `train` does."""
    asked = Config(run_dir=directory, devices=1, hidden=4, batch_size=8, epochs=3)
    experiment = video.build(asked)
    advance = experiment.advance

    def advance_or_die(state, start, stop):
        if start == dies_at:
            raise KeyboardInterrupt
        return advance(state, start, stop)

    experiment.advance = advance_or_die
    with start_run(directory, asked):
        return video.train(asked, experiment)


@pytest.fixture
def few(monkeypatch):
    """Makes few videos."""
    monkeypatch.setattr(motions, "SIZES", {"train": 8, "val": 2, "test": 3})


def test_a_run_reports_and_is_read_back(tmp_path, few):
    run_dir = tmp_path / "run"
    result = train(run_dir)
    assert result["test_accuracy"] in [n / 6 for n in range(7)]
    assert "What is told after each frame" in (run_dir / "report.html").read_text()
    assert len(read_metrics(run_dir / "metrics.jsonl")) == 3
    test = load_videos("motions", None, 32, 16, ReadingConfig()).test
    about = read_about(run_dir)
    model = create_video_classifier(about["model"])
    evaluator = Evaluator(model, Preprocessing(**about["preprocessing"]), make_mesh(1), batch_size=2)
    _, told, _ = evaluator(jv.load_weights(model, run_dir / "weights.safetensors"), test)
    for name, video_frames in zip("ab", test.frames, strict=False):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number, frame in enumerate(video_frames):
            Image.fromarray(frame[..., 0]).save(tmp_path / "videos" / name / f"{number}.png")
    (tmp_path / "videos" / "c.mp4").write_bytes(b"no video")
    classifier = predict_video.Classifier(run_dir)
    paths = predict_video.find_all([tmp_path / "videos", tmp_path / "videos" / "a"])
    assert [path.name for path in paths] == ["a", "b", "c.mp4", "a"]
    results, failures = predict_video.predict(classifier, paths, top_k=2)
    assert [Path(found["file"]).name for found in results] == ["a", "b", "a"]
    assert [found["top"][0]["class"] for found in results] == [about["classes"][told[n]] for n in (0, 1, 0)]
    assert "c.mp4 cannot be read as a video" in failures[0]


def test_videos_are_found_in_the_folders_of_classes(tmp_path):
    for name in ("jump/b", "jump/a", "run/c"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    (tmp_path / "run" / "d.mpg").write_bytes(b"")
    expected = [tmp_path / name for name in ("jump/a", "jump/b", "run/c", "run/d.mpg")]
    assert (
        predict_video.find_all([tmp_path]) == predict_video.find_all([tmp_path / "jump", tmp_path / "run"]) == expected
    )


def test_what_holds_no_videos(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        predict_video.find_all([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="holds no video files and no folders of frames"):
        predict_video.find_all([tmp_path])
    for name in ("result.json", "model.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(RunError, match="holds no classifier of videos"):
        predict_video.Classifier(tmp_path)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(tmp_path, few, monkeypatch):
    monkeypatch.setattr(video, "conclude", lambda config, experiment, variables, step: jax.device_get(variables))
    expected = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", dies_at=4)
    jax.tree.map(np.testing.assert_array_equal, train(tmp_path / "killed"), expected)


@pytest.mark.parametrize(("options", "message"), [
    ({"num_frames": 0}, "--num-frames must be 1 or more, got 0"),
    ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1.0"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_a_network_that_is_not_trained_needs_weights():
    with pytest.raises(ValueError, match="--frozen leaves the network as its --weights have it, which are not given"):
        BackboneConfig("lenet5", frozen=True)


def test_a_network_that_cannot_take_the_frames(tmp_path):
    with pytest.raises(ValueError, match="--model convnet cannot take --data motions: "):
        video.build(Config(backbone=BackboneConfig("convnet"), run_dir=tmp_path, devices=1))
