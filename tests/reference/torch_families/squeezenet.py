"""torchvision's SqueezeNet."""

from functools import partial

from torch import nn
from torchvision.models import SqueezeNet

from tests.reference.torch_families.reference import Reference


def with_means(version: str, **options) -> SqueezeNet:
    """A network that also computes the means of its feature map, in a module called `means`."""
    network = SqueezeNet(version, **options)

    def compute_means(module, inputs, output):
        network.means(output)

    network.means = nn.AdaptiveAvgPool2d(1)
    network.features.register_forward_hook(compute_means)
    return network


INFERENCE = {
    "squeezenet1_0": Reference(
        partial(with_means, "1_0"), ("features.1", "features.5", "features.10", "features.12"), "means"
    ),
    "squeezenet1_1": Reference(
        partial(with_means, "1_1"), ("features.1", "features.4", "features.7", "features.12"), "means"
    ),
}
SHORT = {"squeezenet": Reference(partial(SqueezeNet, "1_1", dropout=0.0), (), "")}
