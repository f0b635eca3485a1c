"""Dates, however they are written, into ISO 8601: the default run of `train.translation`, with and without attention.

    python -m train.configs.dates                       trains with additive attention
    python -m train.configs.dates --attention none      without attention
    python -m train.configs.dates --record              keeps the score in dates.json

The scores are of 2,000 dates that are in no other part, each written in one of 23 ways.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from train import translation
from train.configs.scores import record_run
from train.shared.run import RunError, exit_on

SCORES = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a translator of dates."""

    attention: Literal["none", "additive", "multiplicative", "dot"] = "additive"
    """How the decoder looks at the source."""
    seed: int = 0
    """Of initial parameters and data order."""
    record: bool = False
    """Keep the score in dates.json."""


def main() -> None:
    """Trains as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.dates", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        config = translation.Config(attention=options.attention, seed=options.seed)
        found = translation.run(config)
        if options.record:
            record_run(SCORES, options.attention, options.seed, found, config.directory)
    print(translation.headline(found))


if __name__ == "__main__":
    main()
