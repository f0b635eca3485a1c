"""Spaces of hyperparameters: how one is written, its grid, draws from it, and what its trials say.

Shapes: N trials.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Value = float | int | str
Parameters = dict[str, Value]
Trial = dict[str, Any]
"""`search`, `number`, `parameters`, `score` (accuracy on the validation split), `loss` (None if not finite); an `error`
where the point cannot be trained."""
MOST_BINS = 5


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them; whole ones where `integer`."""

    low: float
    high: float
    log: bool
    integer: bool

    def at(self, share: float) -> Value:
        """Returns the number at a share of the way from low to high, on a logarithmic scale where `log`."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return self.rounded(value)

    def rounded(self, value: float) -> Value:
        """Returns a number with six digits, or a whole one, within the range: what is printed is what is tried."""
        value = round(value) if self.integer else float(f"{value:.6g}")
        return min(max(value, self.low), self.high)

    def points(self, count: int) -> list[Value]:
        """Returns evenly spaced numbers, each once; of a single one, the middle."""
        shares = np.linspace(0, 1, count) if count > 1 else [0.5]
        return list(dict.fromkeys(self.at(float(share)) for share in shares))


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values, none before another."""

    values: tuple[Value, ...]

    def at(self, share: float) -> Value:
        """Returns the value at a share of the way through them."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def rounded(self, value: Value) -> Value:
        """Returns the value itself."""
        return value

    def points(self, count: int) -> list[Value]:
        """Returns all of them."""
        del count
        return list(self.values)


Dimension = Range | Choices
Space = Mapping[str, Dimension]


def parse(text: str, kinds: Mapping[str, type]) -> tuple[str, Dimension]:
    """Reads one dimension: `learning_rate=1e-4..1e-1:log`, `mixup=0..0.4` or `batch_size=32,64`.

    Args:
        text: as above.
        kinds: the type of each option that can be searched, by name.

    Raises:
        ValueError: it cannot be read; the message says what is wrong with it.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise ValueError(f"--space {text}: expected name=low..high, name=low..high:log or name=value,value,...")
    if name not in kinds:
        raise ValueError(f"--space {text}: {name} cannot be searched; what can: {', '.join(sorted(kinds))}")
    if ".." in values:
        return name, _range(text, values, kinds[name])
    choices = tuple(_value(text, value, kinds[name]) for value in values.split(","))
    if len(set(choices)) < len(choices):
        raise ValueError(f"--space {text} names a value twice")
    return name, Choices(choices)


def _range(text: str, values: str, kind: type) -> Range:
    if kind is str:
        raise ValueError(f"--space {text}: not a number, so name its values: name=value,value,...")
    ends, _, scale = values.partition(":")
    low, high = (_value(text, end, kind) for end in ends.split("..", 1))
    if scale not in ("", "log"):
        raise ValueError(f"--space {text}: the scale can be log, got {scale}")
    if not low < high or (scale and low <= 0):
        raise ValueError(f"--space {text}: expected low < high{', both above 0' if scale else ''}")
    return Range(low, high, scale == "log", kind is int)


def _value(text: str, value: str, kind: type) -> Value:
    try:
        found = kind(value)
    except ValueError:
        raise ValueError(
            f"--space {text}: {value!r} is not {'a whole number' if kind is int else 'a number'}"
        ) from None
    if kind is float and not math.isfinite(found):
        raise ValueError(f"--space {text}: {value} is not finite")
    return found


def grid(space: Space, points: int) -> list[Parameters]:
    """Returns every combination: all values of choices, evenly spaced ones of ranges."""
    axes = [dimension.points(points) for dimension in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def draw(space: Space, seed: int, trial: int) -> Parameters:
    """Returns the point of a random search that a seed and the number of the trial fix, independent of all others."""
    random = np.random.RandomState(np.random.SeedSequence([seed, trial]).generate_state(4))
    return {name: dimension.at(random.random_sample()) for name, dimension in space.items()}


SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "tpe": ("TPESampler", {}),
    "cmaes": ("CmaEsSampler", {"warn_independent_sampling": False}),
    # With the 50 that Optuna has, a search of as many trials would be random.
    "nsgaii": ("NSGAIISampler", {"population_size": 10}),
    "qmc": ("QMCSampler", {"scramble": True, "warn_independent_sampling": False}),
}
"""Those of Optuna, and their options."""
LEARNING = ("tpe", "cmaes", "nsgaii")
"""Those of which a trial follows from the scores of the trials before."""


class Sampler:
    """A sampler of Optuna, asked for a trial and told its score in turn.

    The tree-structured Parzen estimator (https://papers.nips.cc/paper/4443), the covariance matrix adaptation evolution
    strategy (https://arxiv.org/abs/1604.00772), a genetic algorithm (of NSGA-II, https://doi.org/10.1109/4235.996017,
    what one score leaves) and Sobol's points. All that one draws follows from its seed and the scores before: told the
    trials of a search that was killed, it goes on with what one that was not killed draws.
    """

    def __init__(self, kind: str, space: Space, seed: int):
        """Makes one of `SAMPLERS`.

        Raises:
            ValueError: a package that it needs is not there.
        """
        try:
            import optuna

            if kind == "cmaes":
                import cmaes  # noqa: F401, which Optuna would miss in the middle of the search
        except ImportError as error:
            missing = f'--search {kind} needs {error.name}: pip install -e ".[search{",cmaes" * (kind == "cmaes")}]"'
            raise ValueError(missing) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name, options = SAMPLERS[kind]
        # Of its own: all of them begin at random, and several in one search would try the same.
        seed = int(np.random.SeedSequence([seed, list(SAMPLERS).index(kind)]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # that of Sobol's points
            sampler = getattr(optuna.samplers, name)(seed=seed, **options)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space, kinds = space, optuna.distributions
        self._distributions = {name: _distribution(dimension, kinds) for name, dimension in space.items()}

    def ask(self) -> Parameters:
        """Returns what to try next."""
        self._trial = self._study.ask(self._distributions)
        values = self._trial.params
        return {name: dimension.rounded(values[name]) for name, dimension in self._space.items()}

    def tell(self, score: float) -> None:
        """Takes the score of what was asked for last; higher is better."""
        self._study.tell(self._trial, score)


def _distribution(dimension: Dimension, kinds: Any) -> Any:
    if isinstance(dimension, Choices):
        return kinds.CategoricalDistribution(dimension.values)
    kind = kinds.IntDistribution if dimension.integer else kinds.FloatDistribution
    return kind(dimension.low, dimension.high, log=dimension.log)


def importance(values: Sequence[Value], scores: Sequence[float], categorical: bool) -> float:
    """Returns the share of the variance of the scores that one hyperparameter explains by itself.

    The first-order Sobol index estimated from the trials as they lie (https://doi.org/10.1016/j.ejor.2012.11.047): the
    variance between groups of trials, of one value each or of a range cut into parts of as many trials, up to five. As
    epsilon squared (Kelley, 1935) it is without what chance alone puts between groups; below zero counts as zero.

    Args:
        values: of the hyperparameter [N].
        scores: of the trials [N].
        categorical: whether the values have no order.
    """
    scores, count = np.asarray(scores, np.float64), len(scores)
    groups = _groups(values, categorical)
    total = np.square(scores - scores.mean()).sum()
    if total == 0 or not 1 < len(groups) < count:
        return 0.0
    within = sum(np.square(scores[group] - scores[group].mean()).sum() for group in groups)
    return float(max(0.0, 1 - (within / (count - len(groups))) / (total / (count - 1))))


def _groups(values: Sequence[Value], categorical: bool) -> list[np.ndarray]:
    """Returns the indices of the trials of each value, or of each part of the range."""
    distinct = sorted(set(values))
    if not categorical and len(distinct) > MOST_BINS:
        bins = min(MOST_BINS, max(2, math.isqrt(len(values))))
        return np.array_split(np.argsort(np.asarray(values, np.float64), kind="stable"), bins)
    return [np.flatnonzero([value == one for value in values]) for one in distinct]


def expected_best(scores: Sequence[float]) -> list[float]:
    """Returns the expected best of 1, 2, ..., N of the trials, drawn in any order (https://arxiv.org/abs/1909.03004).

    Of n drawn from N without replacement, the best is the i-th lowest in C(i - 1, n - 1) of C(N, n) cases.
    """
    lowest_first, count = sorted(scores), len(scores)
    chances = lambda n: [math.comb(i, n - 1) / math.comb(count, n) for i in range(count)]
    return [sum(p * s for p, s in zip(chances(n), lowest_first, strict=True)) for n in range(1, count + 1)]
