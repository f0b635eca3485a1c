"""German into English: the captions of Multi30k, with and without attention, and by a Transformer.

    python -m train.configs.multi30k DIR                        trains with additive attention: BLEU 37.7
    python -m train.configs.multi30k DIR --attention none       without attention: BLEU 22.1
    python -m train.configs.multi30k DIR --model transformer    a Transformer: BLEU 41.8
    python -m train.configs.multi30k DIR --record               keeps the score in multi30k.json, and draws all of them

DIR holds train.de, train.en, val.de and val.en of https://github.com/multi30k/dataset (task 1, raw): 29,000 and 1,014
pairs. Everything is read in lower case. To the GRUs words that the training part has once are unknown; the Transformer
has parts of words (byte-pair encoding). The state of the epoch with the lowest loss on the validation part is the one
that is scored there: sacreBLEU with its default tokenizer, of what the beam search wrote, beside the reference as it
stands, both in lower case. Scores by length, times and machines are in `multi30k.json`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

from train import translation
from train.configs.scores import record_run
from train.data.parallel import ReadingConfig
from train.shared.figures import BLUE, GREEN, GREY, ORANGE, STYLE
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json

SCORES = Path(__file__).with_suffix(".json")
LABELS = {"none": "GRU without attention", "additive": "GRU, additive attention", "transformer": "Transformer"}
COLORS = {"none": ORANGE, "additive": BLUE, "transformer": GREEN}

CONFIG = translation.Config(
    data="files",
    reading=ReadingConfig(languages=("de", "en"), lowercase=True, min_count=2),
    model="gru",
    hidden=256,
    embedding=256,
    dropout=0.2,
    label_smoothing=0.1,
    epochs=6,
    optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=1e-2, clip_norm=1.0),
)
TRANSFORMER = dataclasses.replace(
    CONFIG,
    model="transformer",
    reading=dataclasses.replace(CONFIG.reading, subwords=True, max_words=6_000),
    hidden=128,
    num_layers=3,
    epochs=12,
    optimizer=dataclasses.replace(CONFIG.optimizer, learning_rate=2e-3, warmup=0.1),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a translator of the captions of Multi30k."""

    data_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of train.de, train.en, val.de and val.en."""
    model: Literal["gru", "transformer"] = "gru"
    """Recurrent layers, or blocks of attention."""
    attention: Literal["none", "additive", "multiplicative"] = "additive"
    """gru: how the decoder looks at the source."""
    seed: int = 0
    """Of initial parameters, data order and dropout."""
    record: bool = False
    """Keep the score in multi30k.json."""


@mpl.rc_context(STYLE)
def draw(scores: dict[str, dict[str, Any]]) -> Figure:
    """Draws the BLEU of each translator by the length of the source."""
    figure = Figure((7, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, color) in enumerate(COLORS.items()):
        if name not in scores:
            continue
        groups = scores[name]["by_length"]
        places = np.arange(len(groups)) + 0.27 * (number - 1)
        bars = axes.bar(places, [group["bleu"] for group in groups.values()], 0.25, color=color)
        bars.set_label(f"{LABELS[name]}: {scores[name]['bleu']:.1f}")
        axes.bar_label(bars, fmt="%.0f", fontsize=7.5, color=GREY)
        axes.set_xticks(range(len(groups)), [f"{group}\n{found['pairs']} pairs" for group, found in groups.items()])
    axes.set(title="German into English", xlabel="words of the source", ylabel="BLEU")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return figure


def main() -> None:
    """Trains as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.multi30k", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        config = TRANSFORMER if options.model == "transformer" else CONFIG
        config = dataclasses.replace(config, data_dir=options.data_dir, attention=options.attention, seed=options.seed)
        config = dataclasses.replace(config, run_dir=Path("runs", f"multi30k-{config.kind}-{config.seed}"))
        found = translation.run(config)
        if options.record:
            record_run(SCORES, config.kind, config.seed, found, config.directory)
            draw(read_json(SCORES)).savefig(SCORES.with_suffix(".png"), dpi=100)
    print(translation.headline(found))


if __name__ == "__main__":
    main()
