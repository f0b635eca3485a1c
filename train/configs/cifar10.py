"""Residual networks on CIFAR-10: the paper's recipe, and one short enough for a CPU.

    python -m train.configs.cifar10 resnet20 --data-dir cifar10              64,000 steps, for a GPU: not run yet
    python -m train.configs.cifar10 resnet20 --data-dir cifar10 --short      6 epochs, for a CPU

`paper` is section 4.2 of https://arxiv.org/abs/1512.03385: SGD with momentum 0.9, batches of 128, weight decay 1e-4,
the learning rate 0.1 divided by ten after half and three quarters of 182 epochs, crops after padding by 4 and mirror
images (resnet110: 0.01 at first, until the training error is below 80 %, which a warm-up stands for). Departures: the
decay spares normalisations, and a tenth of the training images is held out to choose the best state. The paper's
accuracies are of the 10,000 test images; of the images published for training alone, as JPEG files, the last 500 of
each class are the test set here (see `train/data/cifar.py`). Scores are in `cifar10.json`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from train import classification
from train.configs.scores import record
from train.shared.losses import LossConfig
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json

SCORES = Path(__file__).with_suffix(".json")

PAPER = classification.Config(
    data="cifar10",
    epochs=182,
    batch_size=128,
    augment="crop-flip",
    loss=LossConfig(label_smoothing=0.0),
    optimizer=OptimizerConfig(
        optimizer="sgd", learning_rate=0.1, schedule="step", warmup=0.0, weight_decay=1e-4, ema=None
    ),
)
SHORT = dataclasses.replace(
    PAPER,
    epochs=6,
    evaluate_every=2,
    optimizer=OptimizerConfig(
        optimizer="sgd", learning_rate=0.2, warmup=0.2, weight_decay=5e-4, nesterov=True, ema=None
    ),
)
PUBLISHED = {"resnet20": 0.9125, "resnet32": 0.9249, "resnet44": 0.9283, "resnet56": 0.9303, "resnet110": 0.9339}
"""Test accuracies of the paper, table 6 (resnet110: the mean of five runs)."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train residual and plain networks on CIFAR-10."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of models for images of 32x32 pixels."""
    data_dir: Path
    """Directory of the files of CIFAR-10, in any layout of `--data cifar10`."""
    short: bool = False
    """The short recipe in place of the paper's."""
    seed: int = 0
    """Of initial parameters, data order and augmentation."""
    record: bool = False
    """Keep the scores in cifar10.json."""


def recipe(name: str, *, short: bool = False) -> classification.Config:
    """Returns how a model is trained on CIFAR-10."""
    config = dataclasses.replace(SHORT if short else PAPER, model=name)
    if "110" in name and not short:
        config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, warmup=400 / 64_000))
    return config


def main() -> None:
    """Trains what the command line names."""
    options = tyro.cli(Options, prog="python -m train.configs.cifar10", config=(tyro.conf.FlagCreatePairsOff,))
    kind = "short" if options.short else "paper"
    with exit_on(RunError, ValueError, OSError):
        for name in options.models:
            directory = Path("runs", f"cifar10-{kind}", f"{name}-{options.seed}")
            config = dataclasses.replace(
                recipe(name, short=options.short), data_dir=options.data_dir, seed=options.seed, run_dir=directory
            )
            accuracy = round(classification.run(config)["test_accuracy"], 4)
            print(f"{name}: test accuracy {accuracy:.2%}", flush=True)
            if options.record:
                found = {"seed": options.seed, "test_accuracy": accuracy, **read_json(directory / "machine.json")}
                record(SCORES, f"{name}/{kind}", found)


if __name__ == "__main__":
    main()
