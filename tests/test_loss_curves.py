"""Why cross-entropy: its gradient where the answer is wrong, and its one valley."""

import sys

import numpy as np
import optax
import pytest

from train import loss_curves
from train.loss_curves import FEATURES, LABELS, SOFTMAX_LOSSES, mean_losses, of_positive, slopes
from train.shared.losses import squared_error

LOGITS = np.linspace(-6, 6, 13)
SIGMOID = 1 / (1 + np.exp(-LOGITS))


def test_slopes():
    by_logit = lambda loss: slopes(LOGITS, of_positive(loss))
    np.testing.assert_allclose(by_logit(optax.sigmoid_binary_cross_entropy), SIGMOID - 1, atol=1e-6)
    np.testing.assert_allclose(by_logit(squared_error), -2 * SIGMOID * (1 - SIGMOID) ** 2, atol=1e-6)


def test_slopes_of_a_softmax():
    plain, smoothed, focal = (slopes(LOGITS, loss) for loss, _ in SOFTMAX_LOSSES.values())
    np.testing.assert_allclose(plain, SIGMOID - 1, atol=1e-6)
    np.testing.assert_allclose(smoothed, SIGMOID - 0.95, atol=1e-6)  # no longer falls beyond a logit of log 19
    wrong = 1 - SIGMOID  # the derivative of -(1 - p)^2 log p, by p, times p (1 - p)
    np.testing.assert_allclose(focal, wrong**2 * (2 * SIGMOID * np.log(SIGMOID) - wrong), atol=1e-6)


def test_one_loss_is_convex_in_the_weight_and_the_other_is_not():
    weights = np.linspace(-4, 4, 81)
    bends = lambda loss: np.diff(mean_losses(weights, loss).astype(np.float64), 2)
    assert bends(optax.sigmoid_binary_cross_entropy).min() > -1e-6
    assert bends(squared_error).min() < -1e-3


def test_mean_loss_of_the_examples():
    p = 1 / (1 + np.exp(-0.5 * FEATURES.astype(np.float64)))
    expected = -(LABELS * np.log(p) + (1 - LABELS) * np.log(1 - p)).mean()
    found = mean_losses(np.float32([0.5]), optax.sigmoid_binary_cross_entropy)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_picture_that_is_there_is_left_alone(tmp_path, monkeypatch):
    picture = tmp_path / "loss.png"
    monkeypatch.setattr(sys, "argv", ["loss_curves", "--output", str(picture)])
    loss_curves.main()
    written = picture.read_bytes()
    assert written.startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="File exists"):
        loss_curves.main()
    assert picture.read_bytes() == written
