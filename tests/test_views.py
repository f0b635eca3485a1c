"""Test-time augmentation against views and means made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from train.data.images import Preprocessing, Split
from train.evaluate import Options
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


def test_shift_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--shift must be 1 or more, got 0"):
        Options(tmp_path, shift=0)
