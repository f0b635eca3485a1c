"""Checks before training: judged by hand, passed by LeNet-5, failed by what cannot learn."""

import dataclasses
import math
import sys
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxvision.classifier import Classifier
from train import classification, sanity_checks
from train.data import load_images
from train.data.images import Preprocessing
from train.sanity_checks import Options, check, judge
from train.shared.feed import ShuffledOrder
from train.shared.losses import LossConfig
from train.shared.optimizer import OptimizerConfig


def passed(batch, empty, **options):
    losses = {"batch": batch, "without content": empty}
    return [passed for passed, _ in judge(losses, 10, Options(**options)).values()]


def test_verdicts():
    guess = math.log(10)
    assert passed([guess] + [0.01] * 5, [guess] * 6) == [True, True, True]
    assert passed([1.31 * guess] + [0.01] * 5, [guess] * 6) == [False, True, True]
    assert passed([1.31 * guess] + [0.01] * 5, [guess] * 6, initial_within=0.4) == [True, True, True]
    assert passed([guess] * 6, [guess] * 6) == [True, False, False]
    assert passed([guess] + [0.04, 0.06] * 2 + [0.04], [guess] * 6) == [True, True, True]
    assert passed([guess] * 6, [guess + 1e-4] * 6) == [True, False, False]
    assert passed([guess] + [math.nan] * 5, [guess] * 6) == [True, False, False]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (LossConfig(), math.log(10)),
        (LossConfig("binary"), 10 * math.log(2)),
        (LossConfig("focal", focal_gamma=3.0), 0.9**3 * math.log(10)),
    ],
)
def test_a_guess_has_the_loss_that_is_trained(loss, expected):
    training = classification.Config(loss=loss)
    assert sanity_checks.plain(training).loss == dataclasses.replace(loss, label_smoothing=0.0)
    for initial in (0.75 * expected, expected, 1.25 * expected):
        assert passed([initial] + [0.01] * 5, [initial] * 6, training=training) == [True, True, True]
    assert passed([1.31 * expected] + [0.01] * 5, [expected] * 6, training=training) == [False, True, True]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    optimizer = OptimizerConfig(optimizer="adam", learning_rate=3e-3)
    directory = tmp_path_factory.mktemp("checks") / "lenet5"
    return classification.Config(batch_size=16, devices=1, optimizer=optimizer, run_dir=directory)


def test_lenet5_learns_a_batch_by_heart(training, monkeypatch, capsys):
    options = Options(training, steps=80)
    result = check(options)
    assert [verdict["passed"] for verdict in result["checks"].values()] == [True, True, True]
    assert result["losses"]["batch"][0] == pytest.approx(math.log(10), rel=0.05)
    # The best answer to images that are all the same is the share of each class in the batch.
    assert min(result["losses"]["without content"]) > 1.5
    assert "one batch is learnt by heart" in (training.directory / "report.html").read_text()
    arguments = ["--batch-size", "16", "--devices", "1", "--optimizer", "adam", "--steps", "80"]
    monkeypatch.setattr(sys, "argv", ["checks", *arguments, "--run-dir", str(training.run_dir)])
    monkeypatch.setattr(sanity_checks, "learn", None)  # what was found is printed again
    with pytest.raises(SystemExit) as stop:
        sanity_checks.main()
    assert stop.value.code == 0
    assert capsys.readouterr().out.count("passed") == 3


class WithAuxiliaryHead(nn.Module):
    """The mean of an image, and an auxiliary head that is sure of one class."""

    in_channels: int = 1

    def features(self, image, *, train):
        if train:
            self.sow("auxiliary", "logits", jnp.broadcast_to(jnp.float32([0] * 9 + [50]), (len(image), 10)))
        return (image,)

    def pool(self, feature_map, *, train):
        return feature_map.mean((1, 2))

    def example_input(self):
        return jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)


def test_auxiliary_heads_are_left_out(training):
    config = sanity_checks.plain(training)
    zero = lambda fan_in, fan_out: (nn.initializers.zeros, nn.initializers.zeros)
    model = Classifier(WithAuxiliaryHead(), num_classes=10, head_init=zero, auxiliary_weight=0.3)
    data, preprocessing = load_images("digits", None, 32), Preprocessing((0.5,), (0.5,), 32)
    order = ShuffledOrder(len(data.train), config.batch_size, seed=0)
    experiment = SimpleNamespace(model=model, data=data, preprocessing=preprocessing, order=order)
    losses = sanity_checks.learn(config, experiment, steps=1)
    assert losses["batch"] == pytest.approx([math.log(10)], rel=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="--steps must be 1 or more"):
        Options(steps=0)
    with pytest.raises(ValueError, match="--learnt-below must be above 0, got 0"):
        Options(learnt_below=0)
    with pytest.raises(ValueError, match="--initial-within must be above 0, got nan"):
        Options(initial_within=math.nan)
