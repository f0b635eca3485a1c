"""Published weights of MobileNetV2: torchvision's, in its order of preference."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_232, EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "mobilenet_v2.tv2_in1k": Published(
        TORCHVISION + "mobilenet_v2-7ebf99e0.pth", "7ebf99e0", "BSD-3-Clause", 72.154, EVALUATED_AT_232
    ),
    "mobilenet_v2.tv_in1k": Published(
        TORCHVISION + "mobilenet_v2-b0353104.pth", "b0353104", "BSD-3-Clause", 71.878, EVALUATED_AT_256
    ),
}
