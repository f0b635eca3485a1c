"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import (
    airbench,
    alexnet,
    densenet,
    googlenet,
    inception,
    lenet,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    resnet,
    shufflenet_v2,
    squeezenet,
    vgg,
)

FAMILIES = (
    lenet,
    alexnet,
    nin,
    vgg,
    googlenet,
    inception,
    resnet,
    densenet,
    airbench,
    squeezenet,
    mobilenet_v2,
    mobilenet_v3,
    mnasnet,
    shufflenet_v2,
)
