"""ImageNet, as AlexNet's paper and torchvision trained on it; none of these runs was made whole yet.

    python -m train.configs.imagenet alexnet_paper --data-dir imagenet
    python -m train.configs.imagenet resnet50 --data-dir imagenet --batch-size 128      where 256 do not fit
    python -m train.configs.imagenet resnet50.tv2_in1k --data-dir imagenet              the recipe of its later weights

Each recipe was tried with one network or more: one epoch of eighty photographs in the same layout, the first ten images
of each class of CIFAR-10, of which the last two are `val`, in batches of 16 (of 4 for ConvNeXt). What `imagenet.json`
holds of that says that a recipe runs, not what it reaches.

The directory holds `train` and `val`, a folder of image files to a class; the test set is cut off `train`, as `val` is
what published accuracies are of. AlexNet: https://papers.nips.cc/paper/4824, section 5, with weights of small variance
and biases of 1 as the paper has them (`jaxvision.cnn.alexnet`). The others: torchvision's
https://github.com/pytorch/vision/tree/main/references/classification, with batches over its eight GPUs.

The paper divides the rate by 10 when the validation error stops falling, without saying for how long: here for three
epochs. Departures from torchvision:

- the decay spares vectors (biases, normalisations, class tokens, scales of layers) and nothing else: torchvision's
  earlier recipes spare nothing, its latest normalisations, those of Swin biases and tables of positions too;
- crops are cut out of the middle square of an image, resized as for validation, where torchvision cuts them out of the
  whole; those of Swin are bilinear, where torchvision's are bicubic;
- where it is a cosine, the rate changes with each step, from zero to zero, where torchvision's changes each epoch, from
  a share of the highest (from 1 % to 10 %) and of Swin to 1e-5;
- an epoch shows each image once, where torchvision's latest show a quarter of them four times (a third three times,
  for ViT);
- mixup and cutmix draw a share for each image, not for each batch;
- the average of the weights moves with each step and from the first, torchvision's every 32 steps by 32 times as much,
  and after the warm-up;
- of MobileNetV3 torchvision averaged the three best checkpoints in the end.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

import jaxvision as jv
from train import classification
from train.configs.scores import record_run
from train.shared.losses import LossConfig
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, read_json

TRIED = Path(__file__).with_suffix(".json")

SGD = OptimizerConfig(
    optimizer="sgd",
    learning_rate=0.1,
    schedule="step",
    milestones=(30 / 90, 60 / 90),
    warmup=0.0,
    weight_decay=1e-4,
    ema=None,
)
TORCHVISION = classification.Config(
    data="folder",
    resize=256,
    image_size=224,
    epochs=90,
    batch_size=256,
    evaluate_every=1,
    augment="imagenet",
    loss=LossConfig(label_smoothing=0.0),
    optimizer=SGD,
)
PAPER = dataclasses.replace(
    TORCHVISION,
    image_size=227,
    batch_size=128,
    augment="alexnet",
    optimizer=dataclasses.replace(SGD, learning_rate=0.01, weight_decay=5e-4, schedule="plateau", plateau=3),
)
LONGER = dataclasses.replace(TORCHVISION, epochs=100, optimizer=dataclasses.replace(SGD, milestones=(0.3, 0.6, 0.9)))
SLOWER = dataclasses.replace(TORCHVISION, optimizer=dataclasses.replace(SGD, learning_rate=0.01))
MOBILE = dataclasses.replace(
    TORCHVISION,
    epochs=300,
    optimizer=dataclasses.replace(
        SGD,
        learning_rate=0.045,
        weight_decay=4e-5,
        milestones=tuple(epoch / 300 for epoch in range(1, 300)),
        step_factor=0.98,
    ),
)


MOBILE_V3 = dataclasses.replace(
    TORCHVISION,
    epochs=600,
    batch_size=1024,
    augment="autoaugment",
    random_erase=0.2,
    optimizer=dataclasses.replace(
        SGD,
        optimizer="rmsprop",
        learning_rate=0.064,
        epsilon=0.0316,
        weight_decay=1e-5,
        milestones=tuple(epoch / 600 for epoch in range(2, 600, 2)),
        step_factor=0.973,
    ),
)


def average_decay(batch_size: int, epochs: int) -> float:
    """Returns the decay, for each step, of torchvision's average of the weights: over as many images for any batch."""
    return 1 - (1 - 0.99998) * batch_size / epochs


LATEST = dataclasses.replace(
    TORCHVISION,
    resize=232,
    train_size=176,
    epochs=600,
    batch_size=1024,
    augment="trivialaugment",
    random_erase=0.1,
    mixup=0.2,
    cutmix=1.0,
    loss=LossConfig(label_smoothing=0.1),
    optimizer=dataclasses.replace(
        SGD,
        learning_rate=0.5,
        schedule="cosine",
        warmup=5 / 600,
        weight_decay=2e-5,
        ema=average_decay(1024, 600),
    ),
)
CONVNEXT = dataclasses.replace(
    LATEST,
    optimizer=dataclasses.replace(LATEST.optimizer, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05),
)
VIT_LARGE = dataclasses.replace(LATEST, train_size=None, optimizer=dataclasses.replace(LATEST.optimizer, clip_norm=1.0))
VIT = dataclasses.replace(
    TORCHVISION,
    epochs=300,
    batch_size=4096,
    augment="randaugment",
    mixup=0.2,
    cutmix=1.0,
    loss=LossConfig(label_smoothing=0.11),
    optimizer=dataclasses.replace(
        CONVNEXT.optimizer,
        learning_rate=3e-3,
        warmup=30 / 300,
        weight_decay=0.3,
        clip_norm=1.0,
        ema=average_decay(4096, 300),
    ),
)


def swin(image_size: int) -> classification.Config:
    """Returns the recipe of torchvision's Swin Transformers, for images of this size."""
    return dataclasses.replace(
        CONVNEXT,
        resize=image_size,
        image_size=image_size,
        train_size=None,
        epochs=300,
        random_erase=0.25,
        mixup=0.8,
        optimizer=dataclasses.replace(CONVNEXT.optimizer, warmup=20 / 300, clip_norm=5.0, ema=average_decay(1024, 300)),
    )


def regnet(batch_size: int, learning_rate: float) -> classification.Config:
    """Returns the recipe of torchvision's RegNets, for batches over eight GPUs."""
    optimizer = dataclasses.replace(SGD, learning_rate=learning_rate, schedule="cosine", warmup=0.05, weight_decay=5e-5)
    return dataclasses.replace(TORCHVISION, epochs=100, batch_size=batch_size, optimizer=optimizer)


RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2")
RECIPES = {
    "alexnet_paper": PAPER,
    "alexnet": SLOWER,
    **{name: TORCHVISION if name.endswith("_bn") else SLOWER for name in jv.list_models("vgg*")},
    **dict.fromkeys(RESNETS, TORCHVISION),
    **dict.fromkeys(("resnext50_32x4d", "resnext101_32x8d"), LONGER),
    "mobilenet_v2": MOBILE,
    **{f"regnet_{size}": regnet(1024, 0.8) for size in ("x_400mf", "x_800mf", "x_1_6gf", "y_800mf", "y_1_6gf")},
    "regnet_y_400mf": regnet(1024, 0.4),
    **{f"regnet_{size}": regnet(512, 0.4) for size in ("x_3_2gf", "x_8gf", "x_16gf", "y_3_2gf", "y_8gf")},
    **{f"regnet_{size}": regnet(256, 0.2) for size in ("x_32gf", "y_16gf", "y_32gf")},
    **dict.fromkeys(("mobilenet_v3_large", "mobilenet_v3_small"), MOBILE_V3),
    **dict.fromkeys(("resnet50.tv2_in1k", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"), LATEST),
    "efficientnet_v2_s": dataclasses.replace(LATEST, train_size=300, image_size=384, resize=384),
    "efficientnet_v2_m": dataclasses.replace(LATEST, train_size=384, image_size=480, resize=480),
    **{f"convnext_{size}": CONVNEXT for size in ("tiny", "small", "base", "large")},
    **dict.fromkeys(("vit_b_16", "vit_l_32"), VIT),
    "vit_b_32": dataclasses.replace(VIT, augment="autoaugment"),
    "vit_l_16": VIT_LARGE,
    **dict.fromkeys(("swin_t", "swin_s", "swin_b"), swin(224)),
    **dict.fromkeys(("swin_v2_t", "swin_v2_s", "swin_v2_b"), swin(256)),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train on ImageNet by a published recipe."""

    model: Annotated[str, tyro.conf.Positional]
    """Name of the model, with that of its weights where they have another recipe than the first."""
    data_dir: Path
    """Directory of the folders train and val."""
    epochs: int | None = None
    """Fewer passes than the recipe has."""
    batch_size: int | None = None
    """Fewer images per step, over all devices, than the recipe has; the learning rate is in proportion to them."""
    seed: int = 0
    """Of initial parameters, data order and augmentation."""
    workers: int = 16
    """Threads that decode images."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the computation."""
    run_dir: Path | None = None
    """Directory of the run."""
    record: bool = False
    """Keep what the run was and found in imagenet.json."""


def recipe(name: str) -> classification.Config:
    """Returns how a model is trained on ImageNet.

    Raises:
        ValueError: no recipe is known of it.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe for {name!r} on ImageNet; there are those of {', '.join(RECIPES)}")
    return dataclasses.replace(RECIPES[name], model=name.partition(".")[0])


def configure(options: Options) -> classification.Config:
    """Returns the config of a run.

    Raises:
        ValueError: no recipe is known of the model, or an option cannot be.
    """
    config = recipe(options.model)
    batch_size = config.batch_size if options.batch_size is None else options.batch_size
    epochs = config.epochs if options.epochs is None else options.epochs
    if batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {batch_size}")
    if epochs < 1:
        raise ValueError(f"--epochs must be 1 or more, got {epochs}")
    rate = config.optimizer.learning_rate * batch_size / config.batch_size  # https://arxiv.org/abs/1706.02677
    ema = average_decay(batch_size, epochs) if config.optimizer.ema else None
    return dataclasses.replace(
        config,
        data_dir=options.data_dir,
        batch_size=batch_size,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=rate, ema=ema),
        epochs=epochs,
        seed=options.seed,
        precision=options.precision,
        reading=dataclasses.replace(config.reading, workers=options.workers),
        run_dir=options.run_dir or Path("runs", f"imagenet-{options.model}-{options.seed}"),
    )


def main() -> None:
    """Trains what the command line names."""
    options = tyro.cli(Options, prog="python -m train.configs.imagenet", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        config = configure(options)
        result = classification.run(config)
        if options.record:
            about = {name: getattr(config, name) for name in ("epochs", "batch_size", "image_size", "precision")}
            about["num_classes"] = len(read_json(config.directory / "model.json")["classes"])
            record_run(TRIED, options.model, options.seed, about | result, config.directory)
    print(f"{options.model}: test accuracy {result['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
