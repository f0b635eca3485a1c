"""Every classifier on the digits, the data set that needs no download.

    python -m train.configs.digits resnet18        trains it and prints the test accuracy
    python -m train.configs.digits --record        trains all of them and rewrites digits.json

The scores, each with its seed, time and hardware, are in `digits.json` beside this file. They say that a network
learns, not how good it is: networks made for photographs of 224x224 pixels see digits of 8x8 enlarged to 32x32 or so.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

import jaxvision as jv
from jaxvision.transformer.swin import Swin
from jaxvision.transformer.vit import ViT
from train import classification
from train.configs.scores import record
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json
from train.transfer import TransferConfig

SCORES = Path(__file__).with_name("digits.json")

LENET = classification.Config()
CIFAR = classification.Config(
    image_size=16, epochs=20, batch_size=64, devices=1, optimizer=OptimizerConfig(learning_rate=3e-3)
)
IMAGENET = classification.Config(
    image_size=32, epochs=6, batch_size=64, evaluate_every=2, devices=1, optimizer=OptimizerConfig(learning_rate=1e-3)
)
TRANSFORMER = dataclasses.replace(IMAGENET, epochs=30, evaluate_every=5)  # which learn slower than convolutions
WINDOWED = dataclasses.replace(TRANSFORMER, epochs=10)
LARGE = dataclasses.replace(  # more and smaller steps of fewer images
    TRANSFORMER, epochs=5, batch_size=16, optimizer=OptimizerConfig(learning_rate=3e-4)
)
LONGER = dataclasses.replace(  # of networks whose steps are short, or that six epochs leave where they began
    IMAGENET, epochs=20, evaluate_every=5, optimizer=OptimizerConfig(learning_rate=3e-3)
)
SCALED = dataclasses.replace(  # more and smaller steps, as deep ones learn slowly
    IMAGENET, epochs=10, batch_size=32, optimizer=OptimizerConfig(learning_rate=2e-3)
)
DEEP = dataclasses.replace(IMAGENET, epochs=10, batch_size=32)
PLAIN = {  # without normalisation or shortcuts: the images are the less different the deeper the layer, and the smaller
    "vgg16": DEEP,
    "vgg19": dataclasses.replace(DEEP, image_size=48),
}
SMALL = ("mlp", "convnet", "lenet5", "lstm_rows")  # that learn without batch normalisation, and take longer
# The beginnings of names choose what follows, the first that fits.
LONGER_TRAINED = (
    "alexnet",
    "nin_imagenet",
    "googlenet_paper",
    "squeezenet",
    "mobilenet",
    "mnasnet",
    "shufflenet",
    "regnet",
)
WIDE_REGNETS = "regnet_x_16gf", "regnet_x_32gf", "regnet_y_16gf", "regnet_y_32gf", "regnet_y_128gf"
IMAGE_SIZES = {  # of models that cannot take images as small, or of which little is left of them
    "convnet": 39,
    "alexnet_paper": 67,
    "alexnet": 64,
    "nin_imagenet": 64,
    "inception_v3": 75,
    "squeezenet": 64,
    "mnasnet": 64,
}
LEARNING_RATES = {  # of models that diverge, or whose ReLUs die, at higher rates
    "alexnet": 5e-4,
    "nin_imagenet": 2e-4,
    "nin": 1e-3,
    "googlenet_paper": 1e-3,
    "vgg": 5e-4,
    "squeezenet": 3e-4,
    "vit_l_16": 1e-4,
    "vit_h": 1e-4,
}
VIEWS = {"vgg": 49, "alexnet_paper": 1, "alexnet": 36}  # of one pixel, by fc6, whose rate is divided by them
# Whose statistics, of which 0.99 and more is kept at each step, would hardly leave their initial values.
SLOW_STATISTICS = "mnasnet", "mobilenet_v3", "efficientnet"
WIDE_HEADS = "efficientnet", "inception_v3"  # of logits as large that noise drowns what the features say at first
PATCHES = 2  # of Transformers, in each direction; more where the image would be smaller than 16x16 pixels


def recipe(name: str) -> classification.Config:
    """Returns how a model is trained on the digits."""
    model = jv.create_model(name)
    size = model.example_input().shape[1]
    config = LENET if name in SMALL else CIFAR if size == 32 else IMAGENET
    if isinstance(model.backbone, ViT | Swin):
        config = _of_transformer(model.backbone)
    if name.startswith(LONGER_TRAINED) and name not in WIDE_REGNETS:
        config = LONGER
    if name.startswith("efficientnet"):
        config = SCALED
    config = PLAIN.get(name, config)
    patch_size = getattr(model.backbone, "patch_size", None)
    default_size = max(PATCHES * patch_size, 16) if patch_size else config.image_size
    views = _by_beginning(name, VIEWS, 1)
    optimizer = dataclasses.replace(
        config.optimizer,
        learning_rate=_by_beginning(name, LEARNING_RATES, config.optimizer.learning_rate),
        group_rates=(f"backbone/fully_connected/fc6={1 / views}",) if views > 1 else (),
    )
    return dataclasses.replace(
        config,
        model=name,
        image_size=_by_beginning(name, IMAGE_SIZES, default_size),
        optimizer=optimizer,
        transfer=TransferConfig(head_init_scale=0.1 if name.startswith(WIDE_HEADS) else 1.0),
        norm_momentum=0.9 if name.startswith(SLOW_STATISTICS) else None,
    )


def _by_beginning(name: str, table: Mapping[str, Any], default: Any) -> Any:
    return next((value for beginning, value in table.items() if name.startswith(beginning)), default)


def _of_transformer(backbone: ViT | Swin) -> classification.Config:
    if isinstance(backbone, Swin):
        return WINDOWED if backbone.window < 7 else LARGE
    return LARGE if backbone.dim >= 768 else TRANSFORMER


@dataclasses.dataclass(frozen=True)
class Options:
    """Train classifiers on the digits."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of models; all where none is given."""
    seeds: int = 1
    """Runs of each model, from seed 0 on."""
    record: bool = False
    """Write the scores to digits.json."""


def score(name: str, seeds: int) -> dict[str, Any]:
    """Trains a model, unless its runs are complete, and returns its scores and what the last run took."""
    accuracies = []
    for seed in range(seeds):
        config = dataclasses.replace(recipe(name), seed=seed)
        accuracies.append(round(classification.run(config)["test_accuracy"], 4))
    return {"test_accuracy": accuracies, **read_json(config.directory / "machine.json")}


def main() -> None:
    """Trains what the command line names."""
    options = tyro.cli(Options, prog="python -m train.configs.digits", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        for name in options.models or jv.list_models():
            found = score(name, options.seeds)
            print(f"{name}: test accuracy", *(f"{accuracy:.2%}" for accuracy in found["test_accuracy"]), flush=True)
            if options.record:
                record(SCORES, name, found)


if __name__ == "__main__":
    main()
