"""What is compared of each family of models."""

from tests.reference.families import (
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
    lenet.FAMILY,
    alexnet.FAMILY,
    nin.FAMILY,
    vgg.FAMILY,
    googlenet.FAMILY,
    inception.FAMILY,
    resnet.FAMILY,
    densenet.FAMILY,
    airbench.FAMILY,
    squeezenet.FAMILY,
    mobilenet_v2.FAMILY,
    mobilenet_v3.FAMILY,
    mnasnet.FAMILY,
    shufflenet_v2.FAMILY,
)
