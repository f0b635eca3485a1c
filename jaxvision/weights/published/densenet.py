"""Published weights of the densely connected networks."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "densenet121.tv_in1k": Published(
        TORCHVISION + "densenet121-a639ec97.pth", "a639ec97", "BSD-3-Clause", 74.434, EVALUATED_AT_256
    ),
    "densenet161.tv_in1k": Published(
        TORCHVISION + "densenet161-8d451a50.pth", "8d451a50", "BSD-3-Clause", 77.138, EVALUATED_AT_256
    ),
    "densenet169.tv_in1k": Published(
        TORCHVISION + "densenet169-b2777c0a.pth", "b2777c0a", "BSD-3-Clause", 75.6, EVALUATED_AT_256
    ),
    "densenet201.tv_in1k": Published(
        TORCHVISION + "densenet201-c1103571.pth", "c1103571", "BSD-3-Clause", 76.896, EVALUATED_AT_256
    ),
}

UNPUBLISHED = ("densenet_bc100_12",)
