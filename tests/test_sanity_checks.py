"""Checks before training: judged by hand, passed by LeNet-5, failed by what cannot learn."""

import math
import sys

import pytest

from train import classification, sanity_checks
from train.sanity_checks import Options, check, judge
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


def test_errors():
    with pytest.raises(ValueError, match="--steps must be 1 or more"):
        Options(steps=0)
    with pytest.raises(ValueError, match="--learnt-below must be above 0, got 0"):
        Options(learnt_below=0)
