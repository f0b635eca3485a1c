"""Residual networks: torchvision's, timm's, and our own for those that neither has."""

from collections.abc import Callable
from functools import partial

import timm
import torchvision
from torch import nn

from tests.reference.torch_families import resnet_networks
from tests.reference.torch_families.reference import Reference


def torchvision_model(build: Callable[..., nn.Module]) -> Reference:
    """A ResNet of torchvision."""
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "avgpool")


def timm_model(name: str, **options) -> Reference:
    """A ResNet of timm whose layers are called as torchvision's."""
    build = partial(timm.create_model, name, **options)
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "global_pool")


def timm_preactivation_model(name: str, **options) -> Reference:
    """A pre-activation ResNet of timm."""
    stages = ("stages.0", "stages.1", "stages.2", "norm")
    return Reference(partial(timm.create_model, name, **options), stages, "head.global_pool")


def plain_model(*depths: int) -> Reference:
    """A plain ImageNet network."""
    build = partial(resnet_networks.plain_network, depths)
    return Reference(build, ("layer1", "layer2", "layer3", "layer4"), "pool")


def cifar_model(depth: int, *shortcut) -> Reference:
    """A CIFAR-10 network of `6 * depth + 2` layers."""
    build = partial(resnet_networks.cifar_network, depth, *shortcut)
    return Reference(build, ("layer1", "layer2", "layer3"), "pool")


def cifar_preactivation_model(depth: int) -> Reference:
    """A pre-activation CIFAR-10 network of `6 * depth + 2` layers."""
    build = partial(resnet_networks.cifar_preactivation_network, depth)
    return Reference(build, ("stages.0", "stages.1", "relu"), "pool")


def shortened(block: type[nn.Module], **options) -> Reference:
    """A ResNet of torchvision with one block per stage."""
    return torchvision_model(partial(torchvision.models.ResNet, block, [1, 1, 1, 1], **options))


INFERENCE = {
    **{name: torchvision_model(partial(torchvision.models.get_model, name))
       for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2",
                    "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")},
    **{name: timm_model(name)
       for name in ("seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152", "seresnext50_32x4d",
                    "seresnext101_32x4d", "seresnext26d_32x4d", "resnet18d", "resnet34d", "resnet50d", "resnet101d",
                    "resnet152d")},
    "plain18": plain_model(2, 2, 2, 2),
    "plain34": plain_model(3, 4, 6, 3),
    **{name: timm_preactivation_model(name)
       for name in ("resnetv2_18", "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152")},
    **{f"resnet{6 * n + 2}": cifar_model(n) for n in (1, 3, 5, 7, 9, 18)},
    **{f"plain{6 * n + 2}": cifar_model(n, resnet_networks.no_shortcut) for n in (1, 3, 9)},
    **{f"preact_resnet{6 * n + 2}": cifar_preactivation_model(n) for n in (3, 9, 18)},
}  # fmt: skip

SHORT = {
    "basic": shortened(torchvision.models.resnet.BasicBlock),
    "bottleneck": shortened(torchvision.models.resnet.Bottleneck),
    "plain": plain_model(1, 1, 1, 1),
    "grouped": shortened(torchvision.models.resnet.Bottleneck, groups=32, width_per_group=4),
    "se_basic": timm_model("seresnet18", layers=[1, 1, 1, 1]),
    "se_bottleneck": timm_model("seresnet50", layers=[1, 1, 1, 1]),
    "se_grouped": timm_model("seresnext50_32x4d", layers=[1, 1, 1, 1]),
    "deep_basic": timm_model("resnet18d", layers=[1, 1, 1, 1]),
    "deep_bottleneck": timm_model("resnet50d", layers=[1, 1, 1, 1]),
    "deep_se_grouped": timm_model("seresnext26d_32x4d", layers=[1, 1, 1, 1]),
    "preact_basic": timm_preactivation_model("resnetv2_18", layers=[1, 1, 1, 1]),
    "preact_bottleneck": timm_preactivation_model("resnetv2_50", layers=[1, 1, 1, 1]),
    "resnet8": INFERENCE["resnet8"],
    "plain8": INFERENCE["plain8"],
    "preact_resnet8": cifar_preactivation_model(1),
}
