"""torchvision's MNASNet."""

from functools import partial

from torchvision.models import MNASNet

from tests.reference.torch_families.reference import Reference

STAGES = ("layers.7", "layers.8", "layers.9", "layers.11", "layers.13")
POOLED = "classifier.0"


def shortened(num_classes: int = 1000) -> MNASNet:
    """A network of one block in each stack, of two in the second."""
    network = MNASNet(0.5, num_classes=num_classes, dropout=0.0)
    for stack, depth in enumerate((1, 2, 1, 1, 1, 1), start=8):
        network.layers[stack] = network.layers[stack][:depth]
    return network


INFERENCE = {
    f"mnasnet{width}".replace(".", "_"): Reference(partial(MNASNet, width), STAGES, POOLED)
    for width in (0.5, 0.75, 1.0, 1.3)
}
SHORT = {"mnasnet": Reference(shortened, (), POOLED)}
