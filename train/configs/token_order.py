"""What positions are for: without them a Transformer does not know the order of what it sees.

    python -m train.configs.token_order             trains five language models and draws what they know of order
    python -m train.configs.token_order --record    keeps numbers and figure beside this file

Character language models of one block, alike but for their positions, read 534,000 characters of Python's standard
library twice, 64 at a time. Then, of each window of the validation part, the characters before the last are
shuffled. How far what is predicted after the last moves is the share of the probability that goes to other characters
(the total variation distance), the mean over the windows. Without positions nothing moves: a block sees a set.
"""

import dataclasses
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

from train import language_model
from train.data.text import load_text
from train.shared.figures import BLUE, GREY, STYLE
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, write_json
from train.trained import TrainedLanguageModel, read_language_model

RECORD = Path(__file__).with_suffix(".json")
POSITIONS = ("none", "sine_cosine", "learned", "relative", "rotary")
CONFIG = language_model.Config(
    model="transformer",
    max_characters=600_000,
    hidden=64,
    num_layers=1,
    epochs=2,
    devices=1,
    optimizer=OptimizerConfig(learning_rate=6e-3, weight_decay=1e-2, clip_norm=1.0),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train language models with and without positions and shuffle what they see."""

    run_dir: Path = Path("runs/token_order")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    record: bool = False
    """Keep numbers and figure beside this file."""


def moved_by_shuffling(trained: TrainedLanguageModel, windows: np.ndarray, seed: int = 0) -> float:
    """Returns how far predictions move when what is before the last token is shuffled, from 0 to 1.

    Args:
        trained: the model.
        windows: int [W, T].
        seed: of the shuffling.
    """

    @jax.jit
    def predict(variables, windows):
        logits, _ = trained.model.apply(variables, windows, train=False)
        return jax.nn.softmax(logits[:, -1])

    random = np.random.default_rng(seed)
    shuffled = np.concatenate([random.permuted(windows[:, :-1], axis=1), windows[:, -1:]], 1)
    before, after = (np.asarray(predict(trained.variables, some), np.float64) for some in (windows, shuffled))
    return float(np.abs(after - before).sum(-1).mean() / 2)


def measure(directory: Path) -> dict[str, dict[str, float]]:
    """Trains the models; returns the loss of each in nats per character, and how far shuffling moves it."""
    text = load_text(CONFIG.data, CONFIG.data_dir, CONFIG.max_characters)
    windows = text.val[: len(text.val) // CONFIG.chunk * CONFIG.chunk].reshape(-1, CONFIG.chunk)
    found = {}
    for positions in POSITIONS:
        config = dataclasses.replace(CONFIG, positions=positions, run_dir=directory / positions)
        loss = language_model.run(config)["val_nats"]
        found[positions] = {"loss": loss, "moved": moved_by_shuffling(read_language_model(config.directory), windows)}
    return found


@mpl.rc_context(STYLE)
def draw(found: dict[str, dict[str, float]]) -> Figure:
    """Draws both numbers of each model."""
    figure = Figure((9, 3), layout="constrained")
    names = [name.replace("_", " and ") for name in found]
    colors = [GREY if name == "none" else BLUE for name in found]
    titles = {"moved": "Probability that shuffling moves", "loss": "Loss, nats per character"}
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        bars = axes.barh(names, [one[key] for one in found.values()], color=colors)
        axes.bar_label(bars, fmt="{:.1%}" if key == "moved" else "{:.3f}", padding=3)
        axes.set(title=title)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    return figure


def main() -> None:
    """Trains, draws and prints."""
    options = tyro.cli(Options, prog="python -m train.configs.token_order", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        found = measure(options.run_dir)
        kept = RECORD if options.record else options.run_dir / RECORD.name
        write_json(kept, found)
        draw(found).savefig(kept.with_suffix(".png"), dpi=100)
    for positions, one in found.items():
        print(f"{positions:12} {one['loss']:.3f} nats per character; shuffling moves {one['moved']:.2%}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
