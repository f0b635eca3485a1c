"""A small Vision Transformer on CIFAR-10: not run yet.

    python -m train.configs.cifar10_vit --data-dir cifar10

Patches of 4x4 pixels; AdamW and mixed images after DeiT's recipe, https://arxiv.org/abs/2012.12877, table 9.
Departures: 200 epochs, batches of 128 at the rate that the paper has for 512, gradients clipped, no stochastic depth,
crops and mirror images in place of RandAugment and erasing, which were made for larger photographs. Of the images
published for training alone, as JPEG files, the last 500 of each class are the test set (see `train/data/cifar.py`).
"""

import dataclasses
from pathlib import Path

import tyro

from train import classification
from train.shared.losses import LossConfig
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on

RECIPE = classification.Config(
    model="vit_tiny_patch4_32",
    data="cifar10",
    epochs=200,
    batch_size=128,
    augment="crop-flip",
    mixup=0.8,
    cutmix=1.0,
    loss=LossConfig(label_smoothing=0.1),
    optimizer=OptimizerConfig(
        optimizer="adamw", learning_rate=5e-4, warmup=0.05, weight_decay=0.05, clip_norm=1.0, ema=None
    ),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a small Vision Transformer on CIFAR-10."""

    data_dir: Path
    """Directory of the files of CIFAR-10, in any layout of `--data cifar10`."""
    seed: int = 0
    """Of initial parameters, data order and augmentation."""


def main() -> None:
    """Trains it."""
    options = tyro.cli(Options, prog="python -m train.configs.cifar10_vit", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        accuracy = classification.run(dataclasses.replace(RECIPE, data_dir=options.data_dir, seed=options.seed))
        print(f"{RECIPE.model}: test accuracy {accuracy['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
