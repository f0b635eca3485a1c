"""Units of an LSTM that know where in Python source they are.

    python -m train.configs.hidden_units             trains the LSTM, finds the units and draws them
    python -m train.configs.hidden_units --record    keeps what was found in hidden_units.json

On 2.5 million characters of the standard library, three passes; what text that is depends on the version of Python, and
so does what is found. The units are chosen on some modules and measured on others, of which the LSTM saw none;
`hidden_units.png` shows the one found for quotes.
"""

import dataclasses
from pathlib import Path

import tyro

from train import hidden_units, language_model
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json, write_json

RECORD = Path(__file__).with_suffix(".json")

CONFIG = language_model.Config(
    max_characters=2_500_000,
    hidden=256,
    chunk=128,
    epochs=3,
    devices=1,
    optimizer=OptimizerConfig(learning_rate=8e-3, weight_decay=1e-2, clip_norm=1.0),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train an LSTM on Python source and find units that know where in it they are."""

    seed: int = 0
    """Of initial parameters."""
    record: bool = False
    """Keep what was found in hidden_units.json."""


def main() -> None:
    """Trains and searches as the command line says."""
    options = tyro.cli(Options, prog="python -m train.configs.hidden_units", config=(tyro.conf.FlagCreatePairsOff,))
    run_dir = Path("runs", f"hidden_units-{options.seed}")
    found = run_dir / "hidden_units" / "found.json"
    with exit_on(RunError, ValueError, OSError):
        result = language_model.run(dataclasses.replace(CONFIG, seed=options.seed, run_dir=run_dir))
        if not found.exists():
            hidden_units.show(run_dir, found.parent, hidden_units.MOST_CHARACTERS)
        if options.record:
            about = {"seed": options.seed, **result, **read_json(run_dir / "machine.json")}
            write_json(RECORD, {**about, "units": read_json(found)})
    print(found.with_name("hidden_units.html"))


if __name__ == "__main__":
    main()
