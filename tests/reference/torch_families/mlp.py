"""The multilayer perceptron in PyTorch."""

from collections import OrderedDict

from torch import nn

from tests.reference.torch_families.reference import Reference


def mlp(num_classes: int = 10) -> nn.Sequential:
    """Two hidden layers of 512 units with ReLUs, on images of 32x32 pixels in three colours."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(3 * 32 * 32, 512),
            relu1=nn.ReLU(),
            fc2=nn.Linear(512, 512),
            relu2=nn.ReLU(),
            output=nn.Linear(512, num_classes),
        )
    )


INFERENCE = {"mlp": Reference(mlp, ("relu1", "relu2"), "relu2")}
SHORT = INFERENCE
