"""What is compared of each family of models."""

from tests.reference.families import (
    airbench,
    lenet,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    shufflenet_v2,
    squeezenet,
)

FAMILIES = (
    lenet.FAMILY,
    resnet.FAMILY,
    airbench.FAMILY,
    squeezenet.FAMILY,
    mobilenet_v2.FAMILY,
    mobilenet_v3.FAMILY,
    mnasnet.FAMILY,
    shufflenet_v2.FAMILY,
)
