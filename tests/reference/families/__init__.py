"""What is compared of each family of models."""

from tests.reference.families import densenet, googlenet, inception, lenet, resnet

FAMILIES = (lenet.FAMILY, resnet.FAMILY, densenet.FAMILY, googlenet.FAMILY, inception.FAMILY)
