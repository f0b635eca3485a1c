"""Language models of recurrent layers and of attention side by side, with as many parameters and as many characters.

    python -m train.configs.attention_or_recurrence                       on Python's standard library
    python -m train.configs.attention_or_recurrence tinyshakespeare.txt   on a text

An RNN, a GRU, an LSTM and a Transformer of as many parameters each (106,000 where there are 97 characters), and the
Transformer without positions, read a text four times (534,000 characters of the library), 64 at a time. Recurrent
layers carry their state on through the text, the Transformer sees 64 characters at most, and is scored on each after 32
at least. The learning rate of each is the best of two or three on a shorter part of the library.

One seed, six minutes (of tinyshakespeare ten) on shared cores of an AMD EPYC: the GRU is first on both, LSTM and
Transformer end alike, the RNN comes after them, and without positions, two blocks hardly know which characters were the
last. `--record` keeps losses and figure beside this file, those of a text under its name too.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

from train import language_model
from train.configs.scores import Curves, save_curves
from train.data.text import load_text
from train.shared.figures import BLUE, GREEN, ORANGE, STYLE
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

COMMON = language_model.Config(max_characters=600_000, epochs=4, batch_size=32, chunk=64, embedding=32, devices=1)
UNITS, BLOCKS = 64, 2  # of the Transformer
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
MODELS = {  # learning rate, color
    "rnn": (2e-3, "grey"),
    "gru": (6e-3, GREEN),
    "lstm": (1e-2, ORANGE),
    "transformer": (6e-3, BLUE),
    "transformer, no positions": (6e-3, "lightsteelblue"),
}
RECORD = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train language models of several kinds on the same text and draw their losses."""

    data: Annotated[Path | None, tyro.conf.Positional] = None
    """A text in UTF-8; unless given, the source of Python's standard library."""
    run_dir: Path = Path("runs/attention_or_recurrence")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    seeds: int = 1
    """Runs of each model."""
    record: bool = False
    """Keep losses and figure beside this file."""


def hidden_of(gates: int, num_characters: int) -> int:
    """Returns the units of the recurrent layer whose model has as many parameters as the Transformer."""
    of_transformer = UNITS * num_characters + BLOCKS * (12 * UNITS**2 + 13 * UNITS) + 2 * UNITS

    def difference(hidden: int) -> int:
        layer = gates * hidden * (COMMON.embedding + hidden + 2)
        return abs(num_characters * (COMMON.embedding + hidden + 1) + layer - of_transformer)

    return min(range(1, 1000), key=difference)


def config_of(name: str, seed: int, options: Options, num_characters: int) -> language_model.Config:
    """Returns the config of a run on a text of that many different characters."""
    kind, _, positions = name.partition(", ")
    sizes = (
        {"hidden": hidden_of(GATES[kind], num_characters)} if kind in GATES else {"hidden": UNITS, "num_layers": BLOCKS}
    )
    sizes |= {"positions": "none"} if positions else {}
    optimizer = OptimizerConfig(learning_rate=MODELS[name][0], weight_decay=1e-2, clip_norm=1.0)
    fields = {"model": kind, "seed": seed, "optimizer": optimizer, **text_of(options), **sizes}
    run = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    directory = options.run_dir / (options.data.stem if options.data else COMMON.data)
    return dataclasses.replace(COMMON, **fields, run_dir=directory / run)


def text_of(options: Options) -> dict[str, Any]:
    """Returns what the config of a run says of its text."""
    return {"data": "text", "data_dir": options.data} if options.data else {"data": COMMON.data}


def measure(options: Options) -> Curves:
    """Returns, for each model, the loss of the validation part after each epoch, a list per seed."""
    text = text_of(options)
    loaded = load_text(text["data"], text.get("data_dir"), COMMON.max_characters)
    losses: Curves = {}
    for name in MODELS:
        for seed in range(options.seeds):
            config = config_of(name, seed, options, len(loaded.vocabulary))
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
    for name, (_, color) in MODELS.items():
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
        name = f"{RECORD.stem}_{options.data.stem}" if options.data else RECORD.stem
        kept = (RECORD.parent if options.record else options.run_dir) / f"{name}.json"
        save_curves(losses, kept)
        draw(losses).savefig(kept.with_suffix(".png"), dpi=100)
    for name, curves in losses.items():
        print(f"{name:26} nats per character at the end: {', '.join(f'{curve[-1]:.3f}' for curve in curves)}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
