"""Scaling laws: how a loss falls with the size of a model and the amount of its data.

Shapes: R runs.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares

HUBER = 1e-3  # residual of the logarithm from which on a run counts linearly, as in Hoffmann et al.
STARTS = {"log_e": (-0.5,), "log_a": (1.0, 5.0), "alpha": (0.2, 0.6), "log_b": (1.0, 5.0), "beta": (0.2, 0.6)}


@dataclasses.dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^alpha + B / D^beta, approach 3 of Hoffmann et al., https://arxiv.org/abs/2203.15556.

    Attributes:
        e: what is left of the loss with any model and any data.
        a, alpha: of the number N of parameters.
        b, beta: of the amount D of data.
    """

    e: float
    a: float
    alpha: float
    b: float
    beta: float

    def __call__(self, parameters: np.ndarray, data: np.ndarray) -> np.ndarray:
        """Returns the loss for each number of parameters and amount of data."""
        return self.e + self.a * np.power(parameters, -self.alpha) + self.b * np.power(data, -self.beta)


def fit_law(
    parameters: Sequence[float], data: Sequence[float], losses: Sequence[float], near: Law | None = None
) -> Law:
    """Returns the law that fits runs best, in the logarithm of the loss, with few runs far off allowed for.

    Args:
        parameters, data, losses: N, D and L of each run, [R].
        near: a law to search around; by default the best of searches from many places.

    Raises:
        ValueError: there are fewer runs than constants.
    """
    if len(losses) < 5:
        raise ValueError(f"5 constants need 5 runs or more, got {len(losses)}")
    log_n, log_d, log_loss = (np.log(np.asarray(values, np.float64)) for values in (parameters, data, losses))

    def residuals(theta: np.ndarray) -> np.ndarray:
        log_e, log_a, alpha, log_b, beta = theta
        terms = np.stack([np.full_like(log_n, log_e), log_a - alpha * log_n, log_b - beta * log_d])
        return np.logaddexp.reduce(terms) - log_loss

    starts = itertools.product(*STARTS.values())
    if near is not None:
        starts = [(np.log(near.e), np.log(near.a), near.alpha, np.log(near.b), near.beta)]
    search = lambda start: least_squares(residuals, start, loss="huber", f_scale=HUBER, x_scale=(1, 5, 0.5, 5, 0.5))
    log_e, log_a, alpha, log_b, beta = min(map(search, starts), key=lambda found: found.cost).x
    return Law(*map(float, (np.exp(log_e), np.exp(log_a), alpha, np.exp(log_b), beta)))


def bootstrap(
    parameters: Sequence[float], data: Sequence[float], losses: Sequence[float], law: Law, draws: int, seed: int
) -> list[Law]:
    """Returns the laws of samples of the runs, drawn with replacement, each of five different runs or more."""
    random, arrays = np.random.RandomState(seed), [np.asarray(values) for values in (parameters, data, losses)]
    laws: list[Law] = []
    while len(laws) < draws:
        chosen = random.randint(len(losses), size=len(losses))
        if len(np.unique(chosen)) >= 5:
            laws.append(fit_law(*(values[chosen] for values in arrays), near=law))
    return laws


def interval(values: Sequence[float], share: float = 0.9) -> tuple[float, float]:
    """Returns the ends of the middle share of some values."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
