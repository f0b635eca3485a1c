"""A two-layer LSTM on tinyshakespeare, to reach 1.55 nats per character on the last tenth.

    python -m train.configs.tinyshakespeare input.txt             trains it and prints the score
    python -m train.configs.tinyshakespeare input.txt --record    keeps the score in tinyshakespeare.json

The text is A. Karpathy's, https://github.com/karpathy/char-rnn/blob/master/data/tinyshakespeare/input.txt: 1,115,394
characters, 65 different. The state of the epoch with the lowest loss on the last tenth is the one that is scored there.
Score, time and machine are in `tinyshakespeare.json` beside this file. Where dropout stands is Zaremba et al.'s,
https://arxiv.org/abs/1409.2329.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from train import language_model
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json, write_json

SCORE = Path(__file__).with_suffix(".json")

CONFIG = language_model.Config(
    data="text",
    hidden=512,
    num_layers=2,
    embedding=128,
    dropout=0.4,
    batch_size=32,
    chunk=64,
    epochs=13,
    optimizer=OptimizerConfig(learning_rate=4e-3, weight_decay=2e-2, clip_norm=1.0),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train an LSTM on tinyshakespeare."""

    data: Annotated[Path, tyro.conf.Positional]
    """The text, input.txt."""
    seed: int = 0
    """Of initial parameters and dropout."""
    record: bool = False
    """Keep the score in tinyshakespeare.json."""


def main() -> None:
    """Trains as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.tinyshakespeare", config=(tyro.conf.FlagCreatePairsOff,))
    directory = Path("runs", f"tinyshakespeare-{options.seed}")
    with exit_on(RunError, ValueError, OSError):
        config = dataclasses.replace(CONFIG, data_dir=options.data, seed=options.seed, run_dir=directory)
        found = language_model.run(config)
        if options.record:
            write_json(SCORE, {"seed": options.seed, **found, **read_json(directory / "machine.json")})
    print(f"{found['val_nats']:.4f} nats per character")


if __name__ == "__main__":
    main()
