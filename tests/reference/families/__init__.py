"""What is compared of each family of models."""

from tests.reference.families import convnext, lenet, resnet

FAMILIES = (
    lenet.FAMILY,
    resnet.FAMILY,
    convnext.FAMILY,
)
