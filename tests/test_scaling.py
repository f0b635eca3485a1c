"""Scaling laws: the constants of Hoffmann et al. found again, bootstrap intervals that hold the truth."""

import itertools

import numpy as np
import pytest

from train.shared.scaling import Law, bootstrap, fit_law, interval

CHINCHILLA = Law(1.69, 406.4, 0.34, 410.7, 0.28)  # https://arxiv.org/abs/2203.15556, equation 10
GRID = np.array(list(itertools.product([1e8, 4e8, 1.6e9, 1e10], [2e9, 1e10, 5e10, 3e11])))
SMALL = Law(0.9, 8.0, 0.35, 60.0, 0.4)  # of the size of those of characters


def test_the_published_law():
    """70 billion parameters and 1.4 trillion tokens: 1.69 + 0.083 + 0.163, section 3.3 and table A3."""
    np.testing.assert_allclose(CHINCHILLA(70e9, 1.4e12), 1.69 + 0.0832 + 0.1633, atol=2e-3)


@pytest.mark.parametrize("law", [CHINCHILLA, SMALL])
def test_constants_are_found_again(law):
    n, d = GRID.T if law is CHINCHILLA else (GRID / [1e4, 2e4]).T
    found = fit_law(n, d, law(n, d))
    for name, value in vars(law).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-3, err_msg=name)


def test_a_run_that_failed_moves_little():
    n, d = GRID.T
    losses = CHINCHILLA(n, d)
    losses[5] *= 1.3
    np.testing.assert_allclose(fit_law(n, d, losses)(70e9, 1.4e12), CHINCHILLA(70e9, 1.4e12), rtol=5e-3)


def test_the_interval_of_a_prediction_holds_the_truth():
    """Of noise of half a per cent, in three cases: of nine tenths, all but one in a thousand such triples have one."""
    n, d = (GRID / [1e4, 2e4]).T
    truth = float(SMALL(4e6, 6e7))
    held = 0
    for seed in range(3):
        losses = SMALL(n, d) * np.exp(0.005 * np.random.RandomState(seed).randn(len(n)))
        law = fit_law(n, d, losses)
        low, high = interval([float(one(4e6, 6e7)) for one in bootstrap(n, d, losses, law, 20, seed)])
        assert low < high
        held += low <= truth <= high
    assert held >= 1


def test_interval():
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_too_few_runs():
    with pytest.raises(ValueError, match="5 constants need 5 runs or more, got 4"):
        fit_law([1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1])
