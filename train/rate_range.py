"""Finds the range of learning rates: `python -m train.rate_range --model resnet20` draws the loss against the rate.

The rate rises exponentially while the model trains, until the loss grows. Smith 2017, "Cyclical learning rates for
training neural networks", https://arxiv.org/abs/1506.01186, section 3.3, with the rate on a logarithmic axis.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from scipy.signal import savgol_filter

from train import classification
from train.shared import report
from train.shared.figures import BLUE, GREEN, GREY, STYLE, WIDTH
from train.shared.run import RunError, check_run, exit_on, start_run, to_json, write_json
from train.shared.step import means

GROWTH = 4.0
"""Times its lowest value that the smoothed loss reaches before the search ends."""
GROWN = 1.5
"""Times its lowest value that the smoothed loss has where the rates were too high: batches differ by less."""
SPAN = 3.0
"""Factor of the rate over which the fall of the loss is measured."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Find a good learning rate: the options are those of train.classification, and these."""

    training: classification.Config = dataclasses.field(default_factory=classification.Config)
    """What is to be trained."""
    lowest: float = 1e-6
    """First learning rate."""
    highest: float = 10.0
    """Last learning rate, unless the loss grows before."""
    steps: int = 200
    """Steps from the first to the last."""
    smoothing: float = 0.9
    """Decay of the moving average of the loss."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if not 0 < self.lowest < self.highest:
            raise ValueError(f"--lowest {self.lowest} must be above 0 and below --highest {self.highest}")
        if not math.isfinite(self.highest):
            raise ValueError(f"--highest must be finite, got {self.highest}")
        if self.steps < 10:
            raise ValueError(f"--steps must be 10 or more, got {self.steps}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"--smoothing must be from 0 to below 1, got {self.smoothing}")

    @property
    def directory(self) -> Path:
        """Where the report goes."""
        config = self.training
        return config.run_dir or Path("runs", f"rate-range-{config.model}-{config.data}-{config.seed}")


def measure(options: Options) -> tuple[np.ndarray, np.ndarray]:  # [steps taken], twice
    """Trains while the rate rises, and returns the rates and the smoothed losses."""
    rates = np.geomspace(options.lowest, options.highest, options.steps)
    ratio = rates[1] / rates[0]
    experiment = classification.build(
        options.training, optax.exponential_decay(options.lowest, transition_steps=1, decay_rate=ratio)
    )
    available = options.training.epochs * experiment.steps_per_epoch
    if options.steps > available:
        raise ValueError(f"--steps {options.steps} are more than the {available} of {options.training.epochs} --epochs")
    losses, state = [], experiment.state
    for step in range(options.steps):
        state, totals = experiment.advance(state, step, step + 1)
        losses.append(means(totals)["loss"])
        smooth = smoothed(losses, options.smoothing)
        if not math.isfinite(losses[-1]) or smooth[-1] > GROWTH * smooth.min():
            break
    smooth = smoothed([loss for loss in losses if math.isfinite(loss)], options.smoothing)
    return rates[: len(smooth)], smooth


def smoothed(values: Sequence[float], decay: float) -> np.ndarray:
    """Returns the moving average up to each value, its weights summing to 1 from the first on."""
    average, averages = 0.0, []
    for value in values:
        average = decay * average + (1 - decay) * value
        averages.append(average)
    return np.array(averages) / (1 - decay ** np.arange(1, len(values) + 1))


def suggest(rates: np.ndarray, losses: np.ndarray, diverged: bool = False) -> tuple[float, float]:  # [N], [N]
    """Returns the rate at which the loss falls fastest, per factor of the rate, and that at which it is lowest.

    The first is a safe rate to train at, the second is already too high.

    Args:
        rates, losses: of the steps taken.
        diverged: whether they ended before the last rate, because the loss grew.

    Raises:
        ValueError: the loss did not fall; the message says whether the rates were too high or too low.
    """
    lowest = int(losses.argmin())
    if lowest < 2:
        too_high = diverged or losses[-1] > GROWN * losses[lowest]
        advice = "a lower --lowest" if too_high else "a higher --highest"
        raise ValueError(
            f"the loss was lowest at the rate {rates[lowest]:.2g}, one of the first, and {losses[-1]:.3g} in place of "
            f"{losses[lowest]:.3g} at the last, {rates[-1]:.2g}: nothing was learnt; {advice} may help"
        )
    slopes = slopes_of(rates, losses)
    return float(rates[slopes[: lowest + 1].argmin()]), float(rates[lowest])


def slopes_of(rates: np.ndarray, losses: np.ndarray) -> np.ndarray:  # [N], [N] -> [N]
    """Returns the slope of the loss against the logarithm of the rate.

    It is that of a straight line through the losses around (https://doi.org/10.1021/ac60214a047): from one step to the
    next, the slope is that of the batches.
    """
    step = float(np.log(rates[1] / rates[0]))
    window = min(2 * round(math.log(SPAN) / step / 2) + 1, 2 * ((len(losses) - 1) // 2) + 1)
    return savgol_filter(losses, max(window, 3), polyorder=1, deriv=1, delta=step)


@mpl.rc_context(STYLE)
def draw(rates: np.ndarray, losses: np.ndarray, steepest: float, lowest: float) -> Figure:
    """Draws the loss against the learning rate."""
    figure = Figure((0.7 * WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=BLUE)
    for rate, color, what in ((steepest, GREEN, "falls fastest"), (lowest, GREY, "is lowest")):
        axes.axvline(rate, color=color, linestyle="--", label=f"{what} at {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed", title="The loss as the rate rises")
    axes.set_ylim(top=min(losses.max(), 1.5 * losses[: len(losses) // 4 + 1].max()))
    axes.legend()
    return figure


def find(options: Options) -> dict[str, Any]:
    """Measures, and writes the report; of a directory where that was done it returns the result.

    Raises:
        ValueError: an option that cannot be, or no rate at which the model learns.
        RunError: the directory holds something else.
    """
    directory = options.directory
    if result := check_run(directory, options):
        return result
    rates, losses = measure(options)
    steepest, lowest = suggest(rates, losses, diverged=len(rates) < options.steps)
    with start_run(directory, options):
        result = {"steepest": steepest, "lowest": lowest, "rates": rates.tolist(), "losses": losses.tolist()}
        report.write_report(
            directory,
            title=f"Learning rates of {options.training.model} on {options.training.data}",
            summary={"falls fastest at": f"{steepest:.2g}", "is lowest at": f"{lowest:.2g}", "steps": f"{len(rates)}"},
            config=to_json(options),
            records=[],
            figures={"Loss against learning rate": draw(rates, losses, steepest, lowest)},
        )
        write_json(directory / "result.json", result)
    return result


def main() -> None:
    """Finds the range for what the command line names."""
    options = tyro.cli(
        Options, prog="python -m train.rate_range", config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
    with exit_on(RunError, ValueError, OSError):
        result = find(options)
    print(f"{options.directory / 'report.html'}")
    print(f"the loss falls fastest at {result['steepest']:.2g} and is lowest at {result['lowest']:.2g}")


if __name__ == "__main__":
    main()
