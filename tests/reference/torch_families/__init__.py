"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import (
    airbench,
    lenet,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    shufflenet_v2,
    squeezenet,
)

FAMILIES = (lenet, resnet, airbench, squeezenet, mobilenet_v2, mobilenet_v3, mnasnet, shufflenet_v2)
