"""What is compared of each family of models."""

from tests.reference.families import airbench, lenet, resnet

FAMILIES = (lenet.FAMILY, resnet.FAMILY, airbench.FAMILY)
