"""How handwritten digits move: the default run of `train.video`, and what is left of it without the order of frames.

    python -m train.configs.motions                 trains an LSTM on what LeNet-5 sees in each frame
    python -m train.configs.motions --head mean     on the mean of the frames
    python -m train.configs.motions --record        keeps the score in motions.json

The scores are of 500 videos, 250 and the same played backwards, of digits of which none was trained on. The mean of the
frames is that of the same frames backwards: of each such pair it can be right of one.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from train import video
from train.configs.scores import record_run
from train.shared.run import RunError, exit_on

SCORES = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a classifier of how digits move."""

    head: Literal["lstm", "mean"] = "lstm"
    """What becomes of the frames."""
    seed: int = 0
    """Of initial parameters and data order."""
    record: bool = False
    """Keep the score in motions.json."""


def main() -> None:
    """Trains as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.motions", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        config = video.Config(head=options.head, seed=options.seed, devices=1)
        found = video.run(config)
        if options.record:
            record_run(SCORES, options.head, options.seed, found, config.directory)
    print(f"test accuracy {found['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
