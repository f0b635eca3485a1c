"""The convolutional network of a first course, in PyTorch."""

from collections import OrderedDict

from torch import nn

from tests.reference.torch_families.reference import Reference


def convnet(num_classes: int = 10) -> nn.Sequential:
    """The network of A. Ng's "Simple convolutional network example": 39x39x3, 37x37x10, 17x17x20, 7x7x40, 1,960."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 10, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(10, 20, 5, stride=2),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(20, 40, 5, stride=2),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(),
            output=nn.Linear(1960, num_classes),
        )
    )


INFERENCE = {"convnet": Reference(convnet, ("relu1", "relu2", "relu3"), "flatten")}
SHORT = INFERENCE
