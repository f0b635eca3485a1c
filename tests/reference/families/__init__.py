"""What is compared of each family of models."""

from tests.reference.families import convnext, efficientnet, lenet, regnet, resnet

FAMILIES = (
    lenet.FAMILY,
    resnet.FAMILY,
    convnext.FAMILY,
    regnet.FAMILY,
    efficientnet.FAMILY,
)
