"""Captions of scenes of handwritten digits: the default run of `train.captioning`, with each way to be given the image.

    python -m train.configs.scenes                          trains Show, Attend and Tell
    python -m train.configs.scenes --conditioning start     Show and Tell
    python -m train.configs.scenes --conditioning every     the same, told again at every step
    python -m train.configs.scenes --record                 keeps the score in scenes.json

The scores are of 1,000 scenes of digits of which none was trained on. Told once, the decoder learns nothing but the
grammar for ten epochs (a validation loss of 0.67), and at the default rate for all of the default sixteen: it has 40 of
half the rate.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from train import captioning
from train.configs.scores import record_run
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

SCORES = Path(__file__).with_suffix(".json")

SLOWER = {"epochs": 40, "optimizer": OptimizerConfig(learning_rate=2e-3, weight_decay=1e-2, clip_norm=1.0)}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a captioner of scenes."""

    conditioning: Literal["start", "every", "attention"] = "attention"
    """How the decoder is given the image."""
    seed: int = 0
    """Of initial parameters and data order."""
    record: bool = False
    """Keep the score in scenes.json."""


def main() -> None:
    """Trains as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.scenes", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        recipe = SLOWER if options.conditioning == "start" else {}
        config = captioning.Config(conditioning=options.conditioning, seed=options.seed, devices=1, **recipe)
        found = captioning.run(config)
        if options.record:
            record_run(SCORES, options.conditioning, options.seed, found, config.directory)
    print(captioning.headline(found))


if __name__ == "__main__":
    main()
