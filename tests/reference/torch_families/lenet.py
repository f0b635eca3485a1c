"""LeNet-5, written from its paper in PyTorch."""

from collections import OrderedDict

from torch import nn

from tests.reference.torch_families.reference import Reference


def lenet5(num_classes: int = 10) -> nn.Sequential:
    """LeNet-5 (LeCun et al., 1998, figure 2), every map of C3 connected to every map of S2, with a linear output."""
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(1, 6, 5),
            s2=nn.Sequential(nn.AvgPool2d(2), nn.Tanh()),
            c3=nn.Conv2d(6, 16, 5),
            s4=nn.Sequential(nn.AvgPool2d(2), nn.Tanh()),
            c5=nn.Conv2d(16, 120, 5),
            c5_tanh=nn.Tanh(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, 84),
            f6_tanh=nn.Tanh(),
            output=nn.Linear(84, num_classes),
        )
    )


INFERENCE = {"lenet5": Reference(lenet5, ("s2", "s4", "c5_tanh"), "f6_tanh")}
SHORT = INFERENCE
