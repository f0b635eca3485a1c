"""Published weights of SqueezeNet: torchvision's, in its order of preference."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "squeezenet1_0.tv_in1k": Published(
        TORCHVISION + "squeezenet1_0-b66bff10.pth", "b66bff10", "BSD-3-Clause", 58.092, EVALUATED_AT_256
    ),
    "squeezenet1_1.tv_in1k": Published(
        TORCHVISION + "squeezenet1_1-b8a52dc0.pth", "b8a52dc0", "BSD-3-Clause", 58.178, EVALUATED_AT_256
    ),
}
