"""Published weights of MobileNetV3: torchvision's, in its order of preference."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_232, EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "mobilenet_v3_large.tv2_in1k": Published(
        TORCHVISION + "mobilenet_v3_large-5c1a4163.pth", "5c1a4163", "BSD-3-Clause", 75.274, EVALUATED_AT_232
    ),
    "mobilenet_v3_large.tv_in1k": Published(
        TORCHVISION + "mobilenet_v3_large-8738ca79.pth", "8738ca79", "BSD-3-Clause", 74.042, EVALUATED_AT_256
    ),
    "mobilenet_v3_small.tv_in1k": Published(
        TORCHVISION + "mobilenet_v3_small-047dcff4.pth", "047dcff4", "BSD-3-Clause", 67.668, EVALUATED_AT_256
    ),
}
