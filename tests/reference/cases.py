"""What is compared with a reference implementation, and on what input."""

import dataclasses
from pathlib import Path

from tests.reference.stored import FOLDER

NUM_CLASSES = 10
LEARNING_RATE = 0.02  # of the optimizer steps: SGD with Nesterov's momentum 0.9
WEIGHT_DECAY = 0.01


@dataclasses.dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        layout: whose key names the reference implementation has.
        image: [C, H, W] of the images.
        damped: pattern of the weights that close a residual branch, see `random_weights`.
    """

    layout: str
    image: tuple[int, int, int]
    damped: str = ""


BASIC = Case("torchvision", (3, 64, 64), r"layer\d\.\d+\.bn2\.weight")
BOTTLENECK = Case("torchvision", (3, 64, 64), r"layer\d\.\d+\.bn3\.weight")
PLAIN = Case("torchvision", (3, 64, 64))
TIMM_BASIC = dataclasses.replace(BASIC, layout="timm")
TIMM_BOTTLENECK = dataclasses.replace(BOTTLENECK, layout="timm")
PREACT_BASIC = Case("timm", (3, 64, 64), r"stages\.\d\.blocks\.\d+\.conv2\.weight")
PREACT_BOTTLENECK = Case("timm", (3, 64, 64), r"stages\.\d\.blocks\.\d+\.conv3\.weight")
CIFAR = Case("akamaster", (3, 32, 32), BASIC.damped)
CIFAR_PLAIN = Case("akamaster", (3, 32, 32))
CIFAR_PREACT = Case("timm", (3, 32, 32), PREACT_BASIC.damped)
LENET = Case("torch", (1, 32, 32))
ODD = (3, 72, 56)  # stages of odd height and of odd width, at whose edges a pooled shortcut has half a window

INFERENCE = {
    "lenet5": LENET,
    **{f"resnet{n}": BASIC for n in (18, 34)},
    **{f"resnet{n}": BOTTLENECK for n in (50, 101, 152)},
    **{f"plain{n}": PLAIN for n in (18, 34)},
    **{f"wide_resnet{n}_2": BOTTLENECK for n in (50, 101)},
    **{f"resnext{n}": BOTTLENECK for n in ("50_32x4d", "101_32x8d", "101_64x4d")},
    **{f"seresnet{n}": TIMM_BASIC for n in (18, 34)},
    **{f"seresnet{n}": TIMM_BOTTLENECK for n in (50, 101, 152)},
    **{f"seresnext{n}_32x4d": TIMM_BOTTLENECK for n in ("50", "101", "26d")},
    **{f"resnet{n}d": TIMM_BASIC for n in (18, 34)},
    **{f"resnet{n}d": TIMM_BOTTLENECK for n in (50, 101, 152)},
    **{f"resnetv2_{n}": PREACT_BASIC for n in (18, 34)},
    **{f"resnetv2_{n}": PREACT_BOTTLENECK for n in (50, 101, 152)},
    **{f"resnet{n}": CIFAR for n in (8, 20, 32, 44, 56, 110)},
    **{f"plain{n}": CIFAR_PLAIN for n in (8, 20, 56)},
    **{f"preact_resnet{n}": CIFAR_PREACT for n in (20, 56, 110)},
}

SHORT = {  # one network per kind of block, one block per stage
    "lenet5": LENET,
    "basic": BASIC,
    "bottleneck": BOTTLENECK,
    "plain": PLAIN,
    "grouped": BOTTLENECK,
    "se_basic": TIMM_BASIC,
    "se_bottleneck": TIMM_BOTTLENECK,
    "se_grouped": TIMM_BOTTLENECK,
    "deep_basic": dataclasses.replace(TIMM_BASIC, image=ODD),
    "deep_bottleneck": dataclasses.replace(TIMM_BOTTLENECK, image=ODD),
    "deep_se_grouped": dataclasses.replace(TIMM_BOTTLENECK, image=ODD),
    "preact_basic": PREACT_BASIC,
    "preact_bottleneck": PREACT_BOTTLENECK,
    "resnet8": CIFAR,
    "plain8": CIFAR_PLAIN,
    "preact_resnet8": CIFAR_PREACT,
}

WHOLE = {name: INFERENCE[name] for name in ("resnet18", "resnet50", "resnetv2_50", "resnet20")}

TRAINING = {**SHORT, **WHOLE}


def inference_file(name: str) -> Path:
    """Returns where the outputs of a registered model are stored."""
    return FOLDER / "inference" / f"{name}.npz"


def training_file(name: str) -> Path:
    """Returns where the outputs, gradients and optimizer steps of a network are stored."""
    return FOLDER / "training" / f"{name}.npz"
