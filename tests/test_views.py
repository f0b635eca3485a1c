"""Test-time augmentation against views and means made by hand."""

import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from train.data.images import Preprocessing, Split
from train.ensemble_scores import draw_scores
from train.evaluate import Options, score_views
from train.shared.evaluator import Evaluator
from train.shared.mesh import make_mesh
from train.shared.views import Views, over_views

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (3, 6, 5, 2), dtype=np.uint8)


def by_hand(image: np.ndarray) -> list[np.ndarray]:
    """The ten views with a shift of two pixels: rows and columns looked up one by one, reflected at the edges."""
    reflect = lambda i, length: length - 1 - abs(length - 1 - abs(i))
    height, width, _ = image.shape
    moved = []
    for down, right in [(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)]:
        rows, columns = (
            [reflect(i + down, height) for i in range(height)],
            [reflect(i + right, width) for i in range(width)],
        )
        moved.append(image[rows][:, columns])
    return moved + [image[:, ::-1] for image in moved]


def test_views_are_those_made_by_hand():
    found = np.stack(Views(mirror=True, shift=2)(jnp.array(IMAGES)), 1)
    assert np.array_equal(found, np.stack([by_hand(image) for image in IMAGES]))
    assert [len(Views(mirror, shift)(IMAGES)) for mirror, shift in ((False, 0), (True, 0), (False, 1))] == [1, 2, 5]
    with pytest.raises(ValueError, match="--shift 5 is too far for images of 6x5 pixels"):
        Views(shift=5)(IMAGES)


def test_probabilities_are_the_mean_of_those_of_the_views():
    weights = RANDOM.randn(6 * 5 * 2, 4) / 255
    logits = over_views(lambda w, images: images.reshape(len(images), -1) @ w, Views(True, 2))(weights, IMAGES)
    alone = np.array([[view.reshape(-1) @ weights for view in by_hand(image)] for image in IMAGES])  # [N, V, K]
    expected = (np.exp(alone) / np.exp(alone).sum(-1, keepdims=True)).mean(1)
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(logits, np.log(expected), rtol=1e-4, atol=1e-6)


def test_evaluator_scores_the_mean_and_without_views_what_it_always_did():
    split = Split(RANDOM.randint(0, 256, (5, 36, 36, 1), dtype=np.uint8), RANDOM.randint(0, 10, 5).astype(np.int32))
    model, preprocessing, mesh = jv.create_model("lenet5"), Preprocessing((0.5,), (0.3,), 32), make_mesh(1)
    variables = jv.init(model, jax.random.key(0))
    alone = jax.jit(lambda v, images: jax.nn.softmax(model.apply(v, preprocessing(images), train=False)))
    scores, plain, _ = Evaluator(model, preprocessing, 5, mesh)(variables, split)
    np.testing.assert_allclose(plain, alone(variables, split.images), rtol=1e-6)
    crops = [split.images, *(split.images[:, y:, x:][:, :32, :32] for y in (0, 4) for x in (0, 4))]
    expected = np.mean([alone(variables, crop) for crop in crops], 0)  # the margin around the crop is of real pixels
    shifted, found, _ = Evaluator(model, preprocessing, 5, mesh, Views(shift=2))(variables, split)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert shifted["loss"] == pytest.approx(-np.log(expected[np.arange(5), split.labels]).mean(), rel=1e-5)
    assert shifted["loss"] != scores["loss"]


def test_each_view_is_scored_alone_under_its_name():
    split = Split(RANDOM.randint(0, 256, (40, 36, 36, 1), dtype=np.uint8), np.arange(40, dtype=np.int32) % 10)
    apply = lambda weights, images, train: images.reshape(len(images), -1) @ weights
    model, preprocessing = types.SimpleNamespace(apply=apply), Preprocessing((0.5,), (0.3,), 32)
    variables = jnp.float32(RANDOM.randn(32 * 32, 10) / 100)
    experiment = types.SimpleNamespace(
        model=model, preprocessing=preprocessing, evaluator=types.SimpleNamespace(batch_size=40)
    )
    table = score_views(experiment, variables, split, Views(mirror=True, shift=2))
    places = {"up, left": (0, 0), "up, right": (0, 4), "down, left": (4, 0), "down, right": (4, 4)}
    crop = lambda top, left: split.images[:, top : top + 32, left : left + 32]
    expected = {"as it is": crop(2, 2)} | {f"shifted {name}": crop(*place) for name, place in places.items()}
    expected |= {"mirror image": crop(2, 2)[:, :, ::-1]}
    expected |= {f"mirror image, shifted {name}": crop(*place)[:, :, ::-1] for name, place in places.items()}
    assert list(table) == list(expected)
    for name, images in expected.items():
        found = np.asarray(jax.nn.softmax(((images / 255 - 0.5) / 0.3).reshape(40, -1) @ variables))
        assert table[name]["accuracy"] == pytest.approx((found.argmax(1) == split.labels).mean(), abs=1e-6)
        assert table[name]["loss"] == pytest.approx(-np.log(found[np.arange(40), split.labels]).mean(), rel=1e-5)
    error, loss = draw_scores(table, "val").axes
    assert [bar.get_width() for bar in loss.containers[0]] == [scores["loss"] for scores in table.values()]
    assert error.get_title(loc="left") == "val error (%)"


def test_a_picture_is_of_views_and_replaces_none(tmp_path):
    with pytest.raises(ValueError, match=r"--output p\.png is a picture of --views, which are not given"):
        Options(tmp_path, output=Path("p.png"))
    (tmp_path / "p.png").touch()
    with pytest.raises(ValueError, match=r"p\.png exists: give another --output, or --overwrite"):
        Options(tmp_path, views=("mirror",), output=tmp_path / "p.png")


def test_shift_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--shift must be 1 or more, got 0"):
        Options(tmp_path, shift=0)
