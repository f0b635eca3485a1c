"""Language models of recurrent layers and of attention side by side, with as many parameters and as many characters.

    python -m train.configs.attention_or_recurrence

An RNN, a GRU, an LSTM and a Transformer of about 106,000 parameters each, and the Transformer without positions, read
534,000 characters of Python's standard library four times, 64 at a time. Recurrent layers carry their state on through
the text, the Transformer sees 64 characters at most, and is scored on each after 32 at least. The learning rate of each
is the best of two or three on a shorter text.

One seed, six minutes on shared cores of an AMD EPYC: the GRU is first, LSTM and Transformer end alike, the RNN comes
after them, and without positions, two blocks hardly know which characters were the last. `--record` keeps losses and
figure beside this file.
"""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

from train import language_model
from train.configs.scores import Curves, save_curves
from train.shared.figures import BLUE, GREEN, ORANGE, STYLE
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

COMMON = language_model.Config(max_characters=600_000, epochs=4, batch_size=32, chunk=64, embedding=32, devices=1)
MODELS = {  # size, learning rate, color
    "rnn": ({"hidden": 262}, 2e-3, "grey"),
    "gru": ({"hidden": 155}, 6e-3, GREEN),
    "lstm": ({"hidden": 134}, 1e-2, ORANGE),
    "transformer": ({"hidden": 64, "num_layers": 2}, 6e-3, BLUE),
    "transformer, no positions": ({"hidden": 64, "num_layers": 2, "positions": "none"}, 6e-3, "lightsteelblue"),
}
RECORD = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train language models of several kinds on the same text and draw their losses."""

    run_dir: Path = Path("runs/attention_or_recurrence")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    seeds: int = 1
    """Runs of each model."""
    record: bool = False
    """Keep losses and figure beside this file."""


def config_of(name: str, seed: int, run_dir: Path) -> language_model.Config:
    """Returns the config of a run."""
    sizes, rate, _ = MODELS[name]
    optimizer = OptimizerConfig(learning_rate=rate, weight_decay=1e-2, clip_norm=1.0)
    fields = {"model": name.partition(",")[0], "seed": seed, "optimizer": optimizer, **sizes}
    return dataclasses.replace(
        COMMON, **fields, run_dir=run_dir / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    )


def measure(options: Options) -> Curves:
    """Returns, for each model, the loss of the validation part after each epoch, a list per seed."""
    losses: Curves = {}
    for name in MODELS:
        for seed in range(options.seeds):
            config = config_of(name, seed, options.run_dir)
            language_model.run(config)
            records = read_metrics(config.directory / "metrics.jsonl")
            curve = [record["val/loss"] for record in records if "val/loss" in record]
            losses.setdefault(name, []).append(curve)
    return losses


@mpl.rc_context(STYLE)
def draw(losses: Curves) -> Figure:
    """Draws the mean over the seeds of each model, and the range between them."""
    figure = Figure((9, 4), layout="constrained")
    axes = figure.subplots()
    for name, (_, _, color) in MODELS.items():
        curves = np.array(losses[name])  # [seeds, epochs]
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.mean(0), color=color, marker="o", label=f"{name}: {curves[:, -1].mean():.3f}")
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.2, linewidth=0)
    axes.set(title="models of as many parameters", xlabel="epoch", ylabel="nats per character (validation)")
    axes.set_xticks(epochs)
    figure.legend(loc="outside right center", title="at the end")
    return figure


def main() -> None:
    """Trains, draws and prints the losses at the end."""
    options = tyro.cli(
        Options, prog="python -m train.configs.attention_or_recurrence", config=(tyro.conf.FlagCreatePairsOff,)
    )
    with exit_on(RunError, ValueError, OSError):
        losses = measure(options)
        kept = RECORD if options.record else options.run_dir / RECORD.name
        save_curves(losses, kept)
        draw(losses).savefig(kept.with_suffix(".png"), dpi=100)
    for name, curves in losses.items():
        print(f"{name:26} nats per character at the end: {', '.join(f'{curve[-1]:.3f}' for curve in curves)}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
