"""What is compared of each family of models."""

from tests.reference.families import alexnet, lenet, nin, resnet, vgg

FAMILIES = (lenet.FAMILY, alexnet.FAMILY, nin.FAMILY, vgg.FAMILY, resnet.FAMILY)
