"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import convnext, lenet, resnet

FAMILIES = (
    lenet,
    resnet,
    convnext,
)
