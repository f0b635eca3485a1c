"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import convnext, efficientnet, lenet, regnet, resnet

FAMILIES = (
    lenet,
    resnet,
    convnext,
    regnet,
    efficientnet,
)
