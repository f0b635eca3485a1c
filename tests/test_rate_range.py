"""The search for a learning rate: curves made by hand, and LeNet-5 on the digits."""

import dataclasses
import json
import math

import numpy as np
import pytest

from train import classification, rate_range
from train.rate_range import Options, find, slopes_of, smoothed, suggest
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError


def test_the_moving_average_weighs_all_values_from_the_first_on():
    values, decay = [3.0, 1.0, 2.0], 0.9
    weights = np.array([0.81, 0.9, 1.0])
    expected = [np.average(values[: n + 1], weights=weights[2 - n :]) for n in range(3)]
    np.testing.assert_allclose(smoothed(values, decay), expected, rtol=1e-12)
    np.testing.assert_array_equal(smoothed(values, 0.0), values)


def test_the_steepest_fall_and_the_lowest_loss():
    rates = np.geomspace(1e-5, 1, 101)
    losses = 1 / (1 + (rates / 1e-3) ** 2) + rates  # steepest per factor of the rate at 1e-3
    steepest, lowest = suggest(rates, losses)
    assert steepest == pytest.approx(1e-3, rel=0.1)
    assert lowest == pytest.approx((2e-6) ** (1 / 3), rel=0.1)  # where 2e-6 / rate^3 = 1
    losses[45] -= 0.05  # one easy batch: after it, for one step, the fall is the steepest
    assert suggest(rates, losses)[0] == pytest.approx(1e-3, rel=0.15)
    with pytest.raises(ValueError, match="nothing was learnt; a lower --lowest may help"):
        suggest(rates, rates)
    too_low = 2.3 + 0.1 * np.random.RandomState(0).rand(101)
    too_low[0] = 2.3  # the batches alone differ
    with pytest.raises(ValueError, match=r"nothing was learnt; a higher --highest may help"):
        suggest(rates, too_low)
    with pytest.raises(ValueError, match="nothing was learnt; a lower --lowest may help"):
        suggest(rates[:2], too_low[:2], diverged=True)  # the third was not finite


def test_slopes_are_those_of_lines_through_what_is_around():
    rates, losses = np.geomspace(1e-3, 1, 60), np.random.RandomState(0).randn(60)
    around = slice(20 - 5, 20 + 5 + 1)  # 10 steps of 0.117 are a factor of 3.2
    expected = np.polyfit(np.log(rates[around]), losses[around], 1)[0]
    assert slopes_of(rates, losses)[20] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(slopes_of(rates[:3], np.log(rates[:3])), 1, rtol=1e-9)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    training = classification.Config(
        devices=1,
        batch_size=16,
        optimizer=OptimizerConfig(optimizer="adamw", ema=None),
        run_dir=tmp_path_factory.mktemp("rates") / "range",
    )
    return Options(training, lowest=1e-4, highest=10, steps=80, smoothing=0.7)


def test_the_rate_rises_until_the_loss_does(options, monkeypatch):
    schedules = []
    build = classification.build
    spy = lambda config, schedule: schedules.append(schedule) or build(config, schedule)
    monkeypatch.setattr(classification, "build", spy)
    result = find(options)
    rates = result["rates"]
    np.testing.assert_allclose(rates, np.geomspace(1e-4, 10, 80)[: len(rates)], rtol=1e-9)
    np.testing.assert_allclose([schedules[0](step) for step in range(len(rates))], rates, rtol=1e-4)
    assert result["losses"][0] == pytest.approx(math.log(10), rel=0.1)
    assert len(rates) < 80
    assert rates[0] < result["steepest"] <= result["lowest"] < rates[-1]
    assert "Loss against learning rate" in (options.directory / "report.html").read_text()


def test_a_search_is_not_repeated_nor_overwritten(options, monkeypatch):
    monkeypatch.setattr(rate_range, "measure", None)
    assert find(options) == json.loads((options.directory / "result.json").read_text())
    with pytest.raises(RunError, match="steps: 80 there, 70 asked for"):
        find(dataclasses.replace(options, steps=70))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lowest": 1.0, "highest": 0.1}, "--lowest 1.0 must be above 0 and below --highest 0.1"),
        ({"highest": math.inf}, "--highest must be finite, got inf"),
        ({"steps": 5}, "--steps must be 10 or more, got 5"),
        ({"smoothing": 1.0}, "--smoothing must be from 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Options(**arguments)


def test_more_steps_than_the_run_has_are_refused(tmp_path):
    training = classification.Config(epochs=1, batch_size=512, run_dir=tmp_path / "short", devices=1)
    with pytest.raises(ValueError, match="--steps 200 are more than the 2 of 1 --epochs"):
        find(Options(training))
    assert not (tmp_path / "short").exists()
