"""Figure 6 of the ResNet paper redone on the digits: depth hurts plain networks and not residual ones.

    python -m train.configs.residual_depth

He et al. (https://arxiv.org/abs/1512.03385) trained plain and residual networks of 20 to 110 layers on CIFAR-10. Here
networks of 8, 20 and 56 layers learn the digits at their own 8x8 pixels, three seeds each, by the paper's recipe in
small: SGD with momentum 0.9, weight decay 1e-4, no augmentation, the learning rate divided by ten at half and at three
quarters of the run. It is 0.03 after a short warm-up, where the paper has 0.1: at that, residual-56 is still unsteady
after as few steps as these. What is compared is the training error, so that overfitting plays no part. `--record` keeps
errors and figure beside this file.
"""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

from train import classification
from train.configs.scores import Curves, save_curves
from train.shared.figures import BLUE, GREEN, ORANGE, STYLE, WIDTH
from train.shared.losses import LossConfig
from train.shared.metrics import Record, read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

DEPTHS = {8: BLUE, 20: GREEN, 56: ORANGE}
CONFIG = classification.Config(
    image_size=8,
    epochs=40,
    batch_size=64,
    augment="none",
    loss=LossConfig(label_smoothing=0.0),
    evaluate_every=10,
    devices=1,
    optimizer=OptimizerConfig(
        optimizer="sgd", learning_rate=0.03, schedule="step", warmup=0.05, weight_decay=1e-4, ema=None
    ),
)

RECORD = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train plain and residual networks of three depths and draw their training errors."""

    run_dir: Path = Path("runs/residual_depth")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    seeds: int = 3
    """Runs of each network."""
    record: bool = False
    """Keep errors and figure beside this file."""


def measure(options: Options) -> Curves:
    """Returns, for each network, the training error after each epoch, a list per seed."""
    errors: Curves = {}
    for name in [f"{kind}{depth}" for kind in ("plain", "resnet") for depth in DEPTHS]:
        for seed in range(options.seeds):
            config = dataclasses.replace(CONFIG, model=name, seed=seed, run_dir=options.run_dir / f"{name}-{seed}")
            classification.run(config)
            records = read_metrics(config.directory / "metrics.jsonl")
            errors.setdefault(name, []).append(training_error(records))
    return errors


def training_error(records: list[Record]) -> list[float]:
    """The share of the training images taken for another digit, epoch by epoch."""
    return [1 - record["train/accuracy"] for record in records]


@mpl.rc_context(STYLE)
def draw(errors: Curves) -> Figure:
    """Draws the mean over the seeds of each network, and the range between them."""
    figure = Figure((WIDTH, 4), layout="constrained")
    for axes, kind, title in zip(
        figure.subplots(1, 2, sharey=True), ("plain", "resnet"), ("plain networks", "residual networks"), strict=True
    ):
        for depth, color in DEPTHS.items():
            curves = 100 * np.array(errors[f"{kind}{depth}"])  # [seeds, epochs]
            epochs = np.arange(1, curves.shape[1] + 1)
            label = f"{depth} layers: {curves[:, -1].mean():.2f} %"
            axes.plot(epochs, curves.mean(0), color=color, label=label)
            axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="epoch", yscale="symlog", ylim=(0, 100))
        axes.legend(title="training error at the end")
    figure.axes[0].set_ylabel("training error (%)")
    return figure


def main() -> None:
    """Trains, draws and prints the errors at the end."""
    options = tyro.cli(Options, prog="python -m train.configs.residual_depth")
    with exit_on(RunError, ValueError, OSError):
        errors = measure(options)
    kept = RECORD if options.record else options.run_dir / RECORD.name
    save_curves(errors, kept)
    draw(errors).savefig(kept.with_suffix(".png"), dpi=100)
    for name, curves in errors.items():
        final = ", ".join(f"{100 * curve[-1]:.2f}" for curve in curves)
        print(f"{name:9} training error at the end (%): {final}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
