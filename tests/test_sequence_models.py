"""Models of a series, against recurrences that they must find again and errors by hand."""

import numpy as np
import pytest

from train import sequence_models
from train.data import sunspots
from train.sequence_models import Options, autoregression, draw, errors, latent_autoregression, naive

RANDOM = np.random.RandomState(0)


def test_sunspots_are_those_of_the_years_that_are_known():
    years, numbers = sunspots.load()
    np.testing.assert_array_equal(years, np.arange(1700, 2009))
    assert dict(zip(years, numbers, strict=True))[1957] == 190.2  # the highest of them
    assert numbers.max() == 190.2


def test_autoregression_finds_a_recurrence_again():
    series = [1.0, -0.5]
    for _ in range(40):
        series.append(0.3 + 1.6 * series[-1] - 0.9 * series[-2])
    series = np.array(series)
    said = autoregression(series[:30], 2)(series, 5)
    assert np.isnan(said[0]).all()
    for steps in range(1, 6):
        np.testing.assert_allclose(said[1:-steps, steps - 1], series[1 + steps :], atol=1e-9)
    np.testing.assert_allclose(errors(said, series, 20), 0, atol=1e-9)


def test_a_markov_model_is_a_line_through_pairs():
    series = RANDOM.randn(30).cumsum()
    slope, constant = np.polyfit(series[:19], series[1:20], 1)
    said = autoregression(series[:20], 1)(series, 2)
    np.testing.assert_allclose(said[:, 0], constant + slope * series)
    np.testing.assert_allclose(said[:, 1], constant + slope * said[:, 0])


def test_errors_are_of_each_value_by_what_was_said_so_many_steps_before():
    series = np.array([0.0, 1, 3, 6, 10])
    np.testing.assert_allclose(errors(naive(series, 2), series, 3), [np.sqrt((9 + 16) / 2), np.sqrt((25 + 49) / 2)])


def test_a_recurrent_network_learns_a_wave_and_sees_nothing_of_what_comes():
    series = np.sin(0.5 * np.arange(80)) + 2
    forecasts = latent_autoregression(series[:60], hidden=8, updates=200, seed=0)
    said = forecasts(series, 3)
    assert said.shape == (80, 3)
    found, guess = errors(said, series, 60), errors(naive(series, 3), series, 60)
    assert (found < 0.2 * guess).all()
    changed = np.concatenate([series[:70], -series[70:]])
    np.testing.assert_allclose(forecasts(changed, 3)[:70], said[:70], rtol=1e-5)
    two_steps = forecasts(np.append(series[:70], said[69, 0]), 2)[-1]
    np.testing.assert_allclose(two_steps, said[69, 1:], rtol=1e-4)


def test_figure_names_each_model():
    years, series = np.arange(40), RANDOM.rand(40)
    forecasts = dict.fromkeys(sequence_models.COLORS, naive(series, 12))
    panels = draw(years, series, forecasts, 25).axes
    assert [text.get_text() for text in panels[2].get_legend().get_texts()] == [*sequence_models.COLORS]
    np.testing.assert_array_equal(panels[1].lines[1].get_ydata(), series[15:30])


@pytest.mark.parametrize(("options", "message"), [
    ({"order": 0}, "--order must be 1 or more, got 0"), ({"ahead": 9}, "--ahead must be 10 or more, got 9"),
    ({"seed": -1}, "--seed must be 0 or more, got -1"), ({"seed": 2**63}, "--seed must be 9223372036854775807 or less"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_too_much_for_the_series_is_refused():
    with pytest.raises(ValueError, match="--order 100 and --ahead 20 are too much for 216 years"):
        sequence_models.compare(Options(order=100))


def test_what_fails_leaves_no_picture_and_what_is_there_is_left_alone(tmp_path, monkeypatch):
    picture = tmp_path / "picture.png"
    for order, message in (("100", "--order 100"), ("9", "File exists")):
        monkeypatch.setattr("sys.argv", ["", "--output", str(picture), "--order", order])
        with pytest.raises(SystemExit, match=message):
            sequence_models.main()
        if order == "100":
            assert not picture.exists()
            picture.write_bytes(b"mine")
    assert picture.read_bytes() == b"mine"
