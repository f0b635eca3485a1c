"""Compares models of a series, one step ahead and many: `python -m train.sequence_models --output sunspots.png`.

Sunspots by year, told by what was last seen (naive), by a line through the last value (a Markov model of order 1), by a
linear function of the last k (autoregression), and by a recurrent network, whose state stands for all that was seen
(latent autoregression). Each is fitted to the first part of the series and measured on the rest; further ahead than a
step they go on from what they said themselves. Shapes: N years, K steps ahead, H hidden units.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.layers import GRU
from train.data import sunspots
from train.shared.figures import BLUE, GREEN, GREY, INK, ORANGE, STYLE, WIDTH
from train.shared.files import new_file
from train.shared.run import exit_on
from train.shared.seeds import check_seed

TRAINING_SHARE = 0.7
STEPS_SHOWN = 10
LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-2  # of the recurrent network
COLORS = {"naive": GREY, "Markov": GREEN, "autoregressive": BLUE, "latent": ORANGE}

Forecasts = Callable[[np.ndarray, int], np.ndarray]
"""Of a series [N] and K, at each place what will be 1 to K steps after it, [N, K], by what is up to it; NaN where that
is too little."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare models of the sunspots by year."""

    output: Path = Path("sequence_models.png")
    """The picture; a file that is there already is left alone."""
    order: int = 9
    """k, the values that the autoregressive model sees."""
    hidden: int = 8
    """Units of the recurrent network."""
    updates: int = 200
    """Steps of its training, each on the whole of the training part."""
    seed: int = 0
    """Of its initial parameters."""
    ahead: int = 20
    """K, the most steps ahead."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name, least in (("order", 1), ("hidden", 1), ("updates", 1), ("ahead", STEPS_SHOWN)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be {least} or more, got {getattr(self, name)}")
        check_seed(self.seed)


def naive(series: np.ndarray, ahead: int) -> np.ndarray:  # [N] -> [N, K]
    """Says that nothing will change."""
    return np.repeat(series[:, None], ahead, 1)


def autoregression(training: np.ndarray, order: int) -> Forecasts:
    """Fits a linear function of the last values to the next by least squares.

    Args:
        training: [N].
        order: how many values; one makes a Markov model.
    """
    columns = [training[lag : len(training) - order + lag] for lag in range(order)]
    (constant, *weights), *_ = np.linalg.lstsq(np.stack([np.ones_like(columns[0]), *columns], 1), training[order:])

    def forecasts(series: np.ndarray, ahead: int) -> np.ndarray:
        seen = np.lib.stride_tricks.sliding_window_view(series, order)  # [N - order + 1, order]
        for _ in range(ahead):
            seen = np.concatenate([seen, (constant + seen[:, -order:] @ weights)[:, None]], 1)
        return np.concatenate([np.full((order - 1, ahead), np.nan), seen[:, order:]])

    return forecasts


def latent_autoregression(training: np.ndarray, hidden: int, updates: int, seed: int) -> Forecasts:
    """Fits a GRU with a linear head, which says by how much the last value will change, by AdamW.

    Args:
        training: [N].
        hidden: H.
        updates: steps, each on the whole series.
        seed: of the initial parameters.
    """
    mean, scale = training.mean(), training.std()
    layer = GRU(hidden, in_features=1)

    def run(params, values, state):  # [B, T], [1, B, H] -> [B, T]: what comes after each
        outputs, state = layer.apply(params["layer"], values[..., None], state, train=False)
        return values + outputs @ params["head"], state

    params = {"layer": jv.init(layer, jax.random.key(seed)), "head": jnp.zeros(hidden)}
    params = _fitted(run, params, jnp.float32((training - mean) / scale)[None], updates)

    @partial(jax.jit, static_argnums=1)
    def forecast(values, ahead):  # [N] -> [K, N]
        def see(state, value):
            said, state = run(params, value[None, None], (state,))
            return state[0], (said[0, 0], state[0][0, 0])

        def go_on(before, _):
            said, state = run(params, before[0][:, None], (before[1],))
            return (said[:, 0], state[0]), before[0]

        _, (first, states) = jax.lax.scan(see, jnp.zeros((1, 1, hidden)), values)
        return jax.lax.scan(go_on, (first, states[None]), length=ahead)[1]

    return lambda series, ahead: mean + scale * np.asarray(forecast(jnp.float32((series - mean) / scale), ahead)).T


def _fitted(run: Callable, params: Any, values: jax.Array, updates: int) -> Any:  # [1, N]
    optimizer = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, updates), weight_decay=WEIGHT_DECAY)

    def loss(params):
        return jnp.square(run(params, values[:, :-1], None)[0] - values[:, 1:]).mean()

    def update(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda carry: jax.lax.scan(update, carry, length=updates)[0][0])((params, optimizer.init(params)))


def errors(forecasts: np.ndarray, series: np.ndarray, first: int) -> np.ndarray:  # [N, K], [N] -> [K]
    """Returns the root mean squared error of what is said 1 to K steps ahead of the values from `first` on."""
    ahead = forecasts.shape[1]
    said = [forecasts[first - steps : len(series) - steps, steps - 1] for steps in range(1, ahead + 1)]
    return np.sqrt(np.square(np.array(said) - series[first:]).mean(1))


@mpl.rc_context(STYLE)
def draw(years: np.ndarray, series: np.ndarray, forecasts: dict[str, np.ndarray], first: int) -> Figure:
    """Draws the measured part of the series with what was said of it, and the errors by steps ahead."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
    for axes, steps in zip(panels, (1, STEPS_SHOWN), strict=False):
        axes.plot(years[first:], series[first:], color=INK, linewidth=1, label="sunspots")
        for name in ("autoregressive", "latent"):
            said = forecasts[name][first - steps : len(series) - steps, steps - 1]
            axes.plot(years[first:], said, color=COLORS[name], linewidth=1.2, label=name)
        axes.set(title=f"{steps} year{'s' if steps > 1 else ''} ahead", xlabel="year")
    panels[0].legend(fontsize=7.5)
    for name, said in forecasts.items():
        found = errors(said, series, first)
        panels[2].plot(range(1, len(found) + 1), found, color=COLORS[name], marker="o", label=name)
    panels[2].set(title="Root mean squared error", xlabel="years ahead", ylim=(0, None))
    panels[2].legend(fontsize=7.5)
    return figure


def main() -> None:
    """Fits, prints the errors and draws as the command line says."""
    with exit_on(ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.sequence_models")
        with new_file(options.output) as file:
            compare(options).savefig(file, format="png", dpi=150)
    print(options.output)


def compare(options: Options) -> Figure:
    """Fits each model, prints its errors, and returns the picture.

    Raises:
        ValueError: the series is too short for the options.
    """
    years, series = sunspots.load()
    first = round(TRAINING_SHARE * len(series))
    if options.order + options.ahead > first // 2:
        raise ValueError(f"--order {options.order} and --ahead {options.ahead} are too much for {first} years")
    models = {
        "naive": naive,
        "Markov": autoregression(series[:first], 1),
        "autoregressive": autoregression(series[:first], options.order),
        "latent": latent_autoregression(series[:first], options.hidden, options.updates, options.seed),
    }
    forecasts = {name: model(series, options.ahead) for name, model in models.items()}
    shown = (1, 2, 5, STEPS_SHOWN, options.ahead)
    print(f"root mean squared error of {years[first]} to {years[-1]}, by years ahead")
    print(f"{'':15}" + "".join(f"{steps:8}" for steps in shown))
    for name, said in forecasts.items():
        found = errors(said, series, first)
        print(f"{name:15}" + "".join(f"{found[steps - 1]:8.1f}" for steps in shown))
    return draw(years, series, forecasts, first)


if __name__ == "__main__":
    main()
