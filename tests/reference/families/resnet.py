"""Residual networks and the plain ones they were compared with."""

import dataclasses
from functools import partial

import jaxvision as jv
from jaxvision.classifier import classifier
from jaxvision.cnn.resnet import BasicBlock, Bottleneck, PreActBasicBlock, PreActBottleneck, ResNet
from tests.reference.case import Case, Family, Tiny

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
ODD = (3, 72, 56)  # stages of odd height and of odd width, at whose edges a pooled shortcut has half a window

INFERENCE = {
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

SHORT = {
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

one_block_per_stage = partial(classifier, ResNet, depths=(1, 1, 1, 1))
NETWORKS = {
    "basic": partial(one_block_per_stage, block=BasicBlock),
    "bottleneck": partial(one_block_per_stage, block=Bottleneck),
    "plain": partial(one_block_per_stage, block=BasicBlock, shortcut="none"),
    "grouped": partial(jv.create_model, "resnext50_32x4d", depths=(1, 1, 1, 1)),
    "se_basic": partial(jv.create_model, "seresnet18", depths=(1, 1, 1, 1)),
    "se_bottleneck": partial(jv.create_model, "seresnet50", depths=(1, 1, 1, 1)),
    "se_grouped": partial(jv.create_model, "seresnext50_32x4d", depths=(1, 1, 1, 1)),
    "deep_basic": partial(jv.create_model, "resnet18d", depths=(1, 1, 1, 1)),
    "deep_bottleneck": partial(jv.create_model, "resnet50d", depths=(1, 1, 1, 1)),
    "deep_se_grouped": partial(jv.create_model, "seresnext26d_32x4d", depths=(1, 1, 1, 1)),
    "preact_basic": partial(one_block_per_stage, block=PreActBasicBlock),
    "preact_bottleneck": partial(one_block_per_stage, block=PreActBottleneck),
    "resnet8": partial(jv.create_model, "resnet8"),
    "plain8": partial(jv.create_model, "plain8"),
    "preact_resnet8": partial(jv.create_model, "preact_resnet20", depths=(1, 1, 1)),
}

two_blocks = partial(classifier, ResNet, depths=(1, 1), widths=(8, 16))
two_blocks_on_cifar = partial(two_blocks, stem="cifar")
deep_se_grouped = partial(
    two_blocks, block=Bottleneck, stem="deep", shortcut="pooled", groups=4, width_per_group=32, squeeze_excite=True
)
TINY = {
    "basic": Tiny(partial(two_blocks, block=BasicBlock)),
    "bottleneck": Tiny(partial(two_blocks, block=Bottleneck)),
    "plain": Tiny(partial(two_blocks, block=BasicBlock, shortcut="none")),
    "deep_se_grouped": Tiny(deep_se_grouped),
    "preact_basic": Tiny(partial(two_blocks, block=PreActBasicBlock)),
    "preact_bottleneck": Tiny(partial(two_blocks, block=PreActBottleneck)),
    "resnet8": Tiny(partial(two_blocks_on_cifar, block=BasicBlock, shortcut="pad")),
    "plain8": Tiny(partial(two_blocks_on_cifar, block=BasicBlock, shortcut="none")),
    "preact_resnet8": Tiny(partial(two_blocks_on_cifar, block=PreActBasicBlock, shortcut="pad")),
}

KINDS = {  # by block, stem, shortcut and so on
    (BasicBlock, "imagenet", "projection"): "basic",
    (Bottleneck, "imagenet", "projection"): "bottleneck",
    (BasicBlock, "imagenet", "none"): "plain",
    (Bottleneck, "imagenet", "projection", "groups"): "grouped",
    (BasicBlock, "imagenet", "projection", "squeeze_excite"): "se_basic",
    (Bottleneck, "imagenet", "projection", "squeeze_excite"): "se_bottleneck",
    (Bottleneck, "imagenet", "projection", "groups", "squeeze_excite"): "se_grouped",
    (BasicBlock, "deep", "pooled"): "deep_basic",
    (Bottleneck, "deep", "pooled"): "deep_bottleneck",
    (Bottleneck, "deep", "pooled", "groups", "squeeze_excite"): "deep_se_grouped",
    (PreActBasicBlock, "imagenet", "projection"): "preact_basic",
    (PreActBottleneck, "imagenet", "projection"): "preact_bottleneck",
    (BasicBlock, "cifar", "pad"): "resnet8",
    (BasicBlock, "cifar", "none"): "plain8",
    (PreActBasicBlock, "cifar", "pad"): "preact_resnet8",
}


def stands_for(name: str) -> tuple[str, str]:
    """Returns the network of `SHORT`, and the one of `TINY` that has all of its parts."""
    backbone = jv.create_model(name).backbone
    options = ["groups"] * (backbone.groups > 1) + ["squeeze_excite"] * backbone.squeeze_excite
    kind = KINDS[backbone.block, backbone.stem, backbone.shortcut, *options]
    return kind, kind if kind in TINY else "deep_se_grouped"


FAMILY = Family(
    title="Plain and residual networks, and what was made of them",
    inference=INFERENCE,
    short=SHORT,
    networks=NETWORKS,
    tiny=TINY,
    stands_for=stands_for,
    whole=("resnet18", "resnet50", "resnetv2_50", "resnet20"),
    counts={
        "resnet18": 11_689_512,  # ImageNet: what torchvision publishes with its weights
        "resnet34": 21_797_672,
        "resnet50": 25_557_032,
        "resnet101": 44_549_160,
        "resnet152": 60_192_808,
        "resnext50_32x4d": 25_028_904,
        "resnext101_32x8d": 88_791_336,
        "resnext101_64x4d": 83_455_272,
        "wide_resnet50_2": 68_883_240,
        "wide_resnet101_2": 126_886_696,
        "plain18": 11_515_688,  # the same without the projections of 1x1 convolution and normalisation
        "plain34": 21_623_848,
        "resnet20": 269_722,  # CIFAR-10: https://github.com/akamaster/pytorch_resnet_cifar10
        "resnet56": 853_018,
        "resnet110": 1_727_962,
    },
)
