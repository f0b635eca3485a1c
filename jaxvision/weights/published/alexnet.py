"""Published weights of AlexNet."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "alexnet.tv_in1k": Published(
        TORCHVISION + "alexnet-owt-7be5be79.pth", "7be5be79", "BSD-3-Clause", 56.522, EVALUATED_AT_256
    ),
}

UNPUBLISHED = ("alexnet_paper",)
