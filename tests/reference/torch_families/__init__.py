"""The reference implementations of each family of models, in PyTorch."""

from tests.reference.torch_families import lenet, mnasnet, mobilenet_v2, mobilenet_v3, resnet, shufflenet_v2, squeezenet

FAMILIES = (
    lenet,
    resnet,
    mobilenet_v2,
    mobilenet_v3,
    mnasnet,
    squeezenet,
    shufflenet_v2,
)
