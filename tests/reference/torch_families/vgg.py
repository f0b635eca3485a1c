"""VGG, of torchvision."""

from collections.abc import Callable
from functools import partial

import torchvision
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from tests.reference.torch_families.reference import Reference

SHORT_STAGES = [8, "M", 16, "M", 32, 32, "M"]


def narrowed(network: nn.Module, channels: int, dim: int, num_classes: int) -> nn.Module:
    """Replaces the fully connected layers."""
    for index, sizes in ((0, (7 * 7 * channels, dim)), (3, (dim, dim)), (6, (dim, num_classes))):
        network.classifier[index] = nn.Linear(*sizes)
    return network


def torchvision_network(name: str, num_classes: int = 1000, fc_dim: int = 4096) -> nn.Module:
    """The network as published, but for the outputs of its fully connected layers."""
    if fc_dim == 4096:
        return torchvision.models.get_model(name, num_classes=num_classes)
    configuration = CONFIGURATIONS[name.removesuffix("_bn")]
    network = torchvision.models.VGG(make_layers(cfgs[configuration], name.endswith("_bn")), init_weights=False)
    return narrowed(network, 512, fc_dim, num_classes)


def short_network(num_classes: int = 1000, *, batch_norm: bool) -> nn.Module:
    """Three narrow stages, and fully connected layers of 32 outputs without dropout."""
    network = torchvision.models.VGG(make_layers(SHORT_STAGES, batch_norm), dropout=0.0)
    return narrowed(network, 32, 32, num_classes)


def reference(build: Callable[..., nn.Module], layers: nn.Sequential) -> Reference:
    """A network of these layers, whose stages end in the poolings."""
    stages = tuple(f"features.{i}" for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))
    return Reference(build, stages, "classifier.5")


CONFIGURATIONS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
INFERENCE = {
    f"{name}{bn}": reference(partial(torchvision_network, f"{name}{bn}"), make_layers(cfgs[configuration], bool(bn)))
    for bn in ("", "_bn")
    for name, configuration in CONFIGURATIONS.items()
}
SHORT = {
    f"vgg{bn}_short": reference(partial(short_network, batch_norm=bool(bn)), make_layers(SHORT_STAGES, bool(bn)))
    for bn in ("", "_bn")
}
