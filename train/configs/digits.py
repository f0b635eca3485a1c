"""Every classifier on the digits, the data set that needs no download.

    python -m train.configs.digits resnet18        trains it and prints the test accuracy
    python -m train.configs.digits --record        trains all of them and rewrites digits.json

The scores, each with its seed, time and hardware, are in `digits.json` beside this file. They say that a network
learns, not how good it is: networks made for photographs of 224x224 pixels see digits of 8x8 enlarged to 32x32.
"""

import dataclasses
import json
import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

import jaxvision as jv
from train import classification
from train.shared.optimizer import OptimizerConfig
from train.shared.run import check_run

SCORES = Path(__file__).with_name("digits.json")

LENET = classification.Config()
CIFAR = classification.Config(
    image_size=16, epochs=20, batch_size=64, devices=1, optimizer=OptimizerConfig(learning_rate=3e-3)
)
IMAGENET = classification.Config(
    image_size=32, epochs=8, batch_size=64, evaluate_every=2, devices=1, optimizer=OptimizerConfig(learning_rate=1e-3)
)


def recipe(name: str) -> classification.Config:
    """Returns how a model is trained on the digits."""
    size = jv.create_model(name).example_input().shape[1]
    config = LENET if name == "lenet5" else CIFAR if size == 32 else IMAGENET
    return dataclasses.replace(config, model=name)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train classifiers on the digits."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of models; all where none is given."""
    record: bool = False
    """Write the scores to digits.json."""


def score(name: str) -> dict[str, Any]:
    """Trains a model, unless its run is complete, and returns its score and what it took."""
    config, begun = recipe(name), time.perf_counter()
    result = check_run(config.directory, config) or classification.train(config, classification.build(config))
    return {
        "test_accuracy": round(result["test_accuracy"], 4),
        "seed": config.seed,
        "seconds": round(time.perf_counter() - begun),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "jax": jax.__version__,
    }


def main() -> None:
    """Trains what the command line names."""
    options = tyro.cli(Options, prog="python -m train.configs.digits", config=(tyro.conf.FlagCreatePairsOff,))
    for name in options.models or jv.list_models():
        found = score(name)
        print(f"{name}: test accuracy {found['test_accuracy']:.2%}", flush=True)
        if options.record:
            known = json.loads(SCORES.read_text()) if SCORES.exists() else {}
            order = [*known, name] if name not in known else list(known)
            rows = {**known, name: found}
            lines = ",\n".join(f"  {json.dumps(row)}: {json.dumps(rows[row])}" for row in order)
            SCORES.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
