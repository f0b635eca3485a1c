"""Published weights of GoogLeNet, whose auxiliary heads torchvision says are not trained."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "googlenet.tv_in1k": Published(
        TORCHVISION + "googlenet-1378be20.pth",
        "1378be20",
        "BSD-3-Clause",
        69.778,
        EVALUATED_AT_256,
        {"transform_input": True},
    ),
}

UNPUBLISHED = ("googlenet_paper",)
