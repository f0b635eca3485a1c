"""AlexNet: torchvision's, and the paper's written in PyTorch."""

from collections import OrderedDict
from functools import partial

import torchvision
from torch import nn

from tests.reference.torch_families.reference import Reference


def response_norm() -> nn.LocalResponseNorm:
    """Section 3.3: n = 5, k = 2, alpha = 1e-4, beta = 0.75; PyTorch divides alpha by n."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def reduction(*, pool_first: bool) -> nn.Sequential:
    """Normalisation and overlapping pooling (sections 3.3 and 3.4)."""
    parts = [response_norm(), nn.MaxPool2d(3, 2)]
    return nn.Sequential(*(reversed(parts) if pool_first else parts))


def paper_network(
    num_classes: int = 1000, *, fc_dim: int = 4096, dropout: float = 0.5, pool_first: bool = False
) -> nn.Sequential:
    """The network of figure 2, named as Caffe's; averaging to 6x6 pixels changes nothing at 227x227."""
    relu = partial(nn.ReLU, inplace=False)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, 4),
            relu1=relu(),
            reduction1=reduction(pool_first=pool_first),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
            relu2=relu(),
            reduction2=reduction(pool_first=pool_first),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=relu(),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=relu(),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=relu(),
            pool5=nn.MaxPool2d(3, 2),
            average=nn.AdaptiveAvgPool2d(6),
            flatten=nn.Flatten(),
            fc6=nn.Linear(9216, fc_dim),
            relu6=relu(),
            drop6=nn.Dropout(dropout),
            fc7=nn.Linear(fc_dim, fc_dim),
            relu7=relu(),
            drop7=nn.Dropout(dropout),
            fc8=nn.Linear(fc_dim, num_classes),
        )
    )


def torchvision_network(num_classes: int = 1000, *, fc_dim: int = 4096, dropout: float = 0.5) -> nn.Module:
    """torchvision's, but for the outputs of its fully connected layers."""
    network = torchvision.models.AlexNet(num_classes, dropout)
    for index, sizes in ((1, (9216, fc_dim)), (4, (fc_dim, fc_dim)), (6, (fc_dim, num_classes))):
        network.classifier[index] = nn.Linear(*sizes)
    return network


short = {"fc_dim": 32, "dropout": 0.0}
torchvision_model = partial(Reference, stages=("features.2", "features.5", "features.12"), pooled="classifier.5")
paper_model = partial(Reference, stages=("reduction1", "reduction2", "pool5"), pooled="drop7")

INFERENCE = {"alexnet": torchvision_model(torchvision_network), "alexnet_paper": paper_model(paper_network)}
SHORT = {
    "alexnet_narrow": torchvision_model(partial(torchvision_network, **short)),
    "alexnet_paper_narrow": paper_model(partial(paper_network, **short)),
    "alexnet_pool_first": paper_model(partial(paper_network, pool_first=True, **short)),
}
