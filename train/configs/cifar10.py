"""Networks on CIFAR-10: the recipe of each paper, and one short enough for a CPU.

    python -m train.configs.cifar10 resnet20 --data-dir cifar10              64,000 steps, for a GPU: none run yet
    python -m train.configs.cifar10 resnet20 --data-dir cifar10 --short      for a CPU: times in cifar10.json

The recipes of the papers, all of batches of 128 and SGD with momentum 0.9, crops after padding by 4 and mirror images
unless told otherwise:

- Residual and plain networks: section 4.2 of https://arxiv.org/abs/1512.03385: weight decay 1e-4, the learning rate 0.1
  divided by ten after half and three quarters of 182 epochs (those of 110 layers: 0.01 at first, until the training
  error is below 80 %, which a warm-up stands for).
- `nin`: section 4.1 of https://arxiv.org/abs/1312.4400: the rate is divided by ten, twice, when the accuracy stops
  rising; the paper does not say for how long: here for ten epochs. Rate and decay are those of the authors' file for
  CIFAR-100, https://github.com/mavenlin/cuda-convnet, where 0.01 is the rate of twice the loss. Departures: accuracy is
  that of the validation split, biases learn at the rate of the weights, colours are normalised, not whitened.
- `vgg16_bn`, for which no paper has one: that of https://github.com/chengyangfu/pytorch-vgg-cifar10: weight decay 5e-4,
  0.05 halved after every tenth of 300 epochs. Of an image of 32x32 pixels one is left before the first fully connected
  layer, which sees it 49 times: it learns at a 49th of the rate, as if it saw it once.
- `densenet_bc100_12`: section 4.2 of https://arxiv.org/abs/1608.06993: batches of 64, weight decay 1e-4, Nesterov's
  momentum, 0.1 divided by ten after half and three quarters of 300 epochs.
- `vit_tiny_patch4_32` and `swin_tiny_patch2_window4_32`, whose patches are of 4x4 and 2x2 pixels: AdamW, warm-up, a
  cosine, smoothed labels and mixed images after DeiT's recipe, https://arxiv.org/abs/2012.12877, table 9. Departures:
  200 epochs, ten of them of warm-up, batches of 128 at the rate that the paper has for 512, gradients clipped, crops
  and mirror images in place of RandAugment and erasing, which were made for larger photographs, and no stochastic depth
  but in the Swin Transformer, whose authors have it.

Departures of all: the decay spares biases and normalisations, and a tenth of the training images is held out to choose
the best state. The papers' accuracies are of the 10,000 test images; of the images published for training alone, as
JPEG files, the last 500 of each class are the test set here (see `train/data/cifar.py`). The short recipes halve the
images of all but the fastest networks, and VGG, which cannot see smaller ones: its one epoch is of batches of 64, and
of unchanged images, as it sees none twice; those of Transformers are for batches of 64 and mix no images. The ViT has
Muon, which in 40 steps went as far as AdamW at 1e-3 in 80, of twice the speed; the Swin Transformer has AdamW, as
Muon's own products would be more than twice the rest of a step. Scores are in
`cifar10.json`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from train import classification
from train.configs.scores import record
from train.shared.losses import LossConfig
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json

SCORES = Path(__file__).with_suffix(".json")

SGD = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="step", warmup=0.0, weight_decay=1e-4, ema=None)
FALLING = dataclasses.replace(SGD, learning_rate=0.2, schedule="cosine", warmup=0.2, weight_decay=5e-4, nesterov=True)
RESIDUAL = classification.Config(
    data="cifar10",
    epochs=182,
    batch_size=128,
    augment="crop-flip",
    loss=LossConfig(label_smoothing=0.0),
    optimizer=SGD,
)
WARMED = dataclasses.replace(RESIDUAL, optimizer=dataclasses.replace(SGD, warmup=400 / 64_000))
NIN = dataclasses.replace(
    RESIDUAL,
    epochs=260,
    evaluate_every=1,
    optimizer=dataclasses.replace(SGD, learning_rate=0.02, weight_decay=5e-4, schedule="plateau", plateau=10),
)
FC6 = (f"backbone/fully_connected/fc6={1 / 49}",)
VGG = dataclasses.replace(
    RESIDUAL,
    epochs=300,
    optimizer=dataclasses.replace(
        SGD,
        learning_rate=0.05,
        weight_decay=5e-4,
        milestones=tuple(tenths / 10 for tenths in range(1, 10)),
        step_factor=0.5,
        group_rates=FC6,
    ),
)
DENSE = dataclasses.replace(RESIDUAL, epochs=300, batch_size=64, optimizer=dataclasses.replace(SGD, nesterov=True))
DEIT = dataclasses.replace(
    RESIDUAL,
    epochs=200,
    mixup=0.8,
    cutmix=1.0,
    loss=LossConfig(label_smoothing=0.1),
    optimizer=OptimizerConfig(
        optimizer="adamw", learning_rate=5e-4, warmup=0.05, weight_decay=0.05, clip_norm=1.0, ema=None
    ),
)
SHORT = dataclasses.replace(RESIDUAL, epochs=6, evaluate_every=2, optimizer=FALLING)
HALVED = dataclasses.replace(SHORT, epochs=5, image_size=16)
SHORT_DEIT = dataclasses.replace(
    HALVED, epochs=4, batch_size=64, optimizer=dataclasses.replace(DEIT.optimizer, warmup=0.1)
)
SHORT_MUON = dataclasses.replace(
    SHORT_DEIT, epochs=3, optimizer=dataclasses.replace(SHORT_DEIT.optimizer, optimizer="muon", learning_rate=1e-2)
)


class Recipes(NamedTuple):
    """How a model is trained.

    Attributes:
        paper: at length.
        short: on a CPU.
        published: test accuracy of the paper; None where it tells none.
    """

    paper: classification.Config
    short: classification.Config
    published: float | None = None


RECIPES = {
    "nin": Recipes(
        NIN,
        dataclasses.replace(HALVED, epochs=7, optimizer=OptimizerConfig(learning_rate=2e-3, ema=None)),
        0.9119,
    ),
    "vgg16_bn": Recipes(
        VGG,
        dataclasses.replace(
            SHORT,
            epochs=1,
            batch_size=64,
            augment="none",
            optimizer=dataclasses.replace(FALLING, learning_rate=0.05, group_rates=FC6),
        ),
    ),
    "resnet8": Recipes(RESIDUAL, SHORT),
    "resnet20": Recipes(RESIDUAL, SHORT, 0.9125),
    "resnet32": Recipes(RESIDUAL, HALVED, 0.9249),
    "resnet44": Recipes(RESIDUAL, HALVED, 0.9283),
    "resnet56": Recipes(RESIDUAL, HALVED, 0.9303),
    "resnet110": Recipes(WARMED, HALVED, 0.9339),  # the mean of five runs
    "preact_resnet20": Recipes(RESIDUAL, SHORT),
    "preact_resnet56": Recipes(RESIDUAL, HALVED),
    "preact_resnet110": Recipes(WARMED, HALVED, 0.9363),  # https://arxiv.org/abs/1603.05027
    "plain8": Recipes(RESIDUAL, SHORT),
    "plain20": Recipes(RESIDUAL, SHORT),
    "plain56": Recipes(RESIDUAL, HALVED),
    "vit_tiny_patch4_32": Recipes(DEIT, SHORT_MUON),
    "swin_tiny_patch2_window4_32": Recipes(DEIT, SHORT_DEIT),
    "densenet_bc100_12": Recipes(
        DENSE,
        dataclasses.replace(HALVED, epochs=1, batch_size=64, optimizer=dataclasses.replace(FALLING, learning_rate=0.1)),
        0.9549,
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train networks on CIFAR-10."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of models."""
    data_dir: Path
    """Directory of the files of CIFAR-10, in any layout of `--data cifar10`."""
    short: bool = False
    """The short recipe in place of the paper's."""
    seed: int = 0
    """Of initial parameters, data order and augmentation."""
    record: bool = False
    """Keep the scores in cifar10.json."""


def recipe(name: str, *, short: bool = False) -> classification.Config:
    """Returns how a model is trained on CIFAR-10.

    Raises:
        ValueError: no recipe is known of it.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe for {name!r} on CIFAR-10; there are those of {', '.join(RECIPES)}")
    return dataclasses.replace(RECIPES[name].short if short else RECIPES[name].paper, model=name)


def main() -> None:
    """Trains what the command line names."""
    options = tyro.cli(Options, prog="python -m train.configs.cifar10", config=(tyro.conf.FlagCreatePairsOff,))
    kind = "short" if options.short else "paper"
    with exit_on(RunError, ValueError, OSError):
        for config in [recipe(name, short=options.short) for name in options.models]:
            directory = Path("runs", f"cifar10-{kind}", f"{config.model}-{options.seed}")
            config = dataclasses.replace(config, data_dir=options.data_dir, seed=options.seed, run_dir=directory)
            accuracy = round(classification.run(config)["test_accuracy"], 4)
            print(f"{config.model}: test accuracy {accuracy:.2%}", flush=True)
            if options.record:
                found = {"seed": options.seed, "test_accuracy": accuracy, **read_json(directory / "machine.json")}
                record(SCORES, f"{config.model}/{kind}", found)


if __name__ == "__main__":
    main()
