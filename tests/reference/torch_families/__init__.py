"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import alexnet, lenet, nin, resnet, vgg

FAMILIES = (lenet, alexnet, nin, vgg, resnet)
