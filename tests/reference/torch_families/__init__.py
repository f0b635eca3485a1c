"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import densenet, googlenet, inception, lenet, resnet

FAMILIES = (lenet, resnet, densenet, googlenet, inception)
