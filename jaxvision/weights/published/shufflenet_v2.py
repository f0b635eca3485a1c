"""Published weights of ShuffleNetV2: torchvision's, in its order of preference."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_232, EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "shufflenet_v2_x0_5.tv_in1k": Published(
        TORCHVISION + "shufflenetv2_x0.5-f707e7126e.pth", "f707e7126e", "BSD-3-Clause", 60.552, EVALUATED_AT_256
    ),
    "shufflenet_v2_x1_0.tv_in1k": Published(
        TORCHVISION + "shufflenetv2_x1-5666bf0f80.pth", "5666bf0f80", "BSD-3-Clause", 69.362, EVALUATED_AT_256
    ),
    "shufflenet_v2_x1_5.tv_in1k": Published(
        TORCHVISION + "shufflenetv2_x1_5-3c479a10.pth", "3c479a10", "BSD-3-Clause", 72.996, EVALUATED_AT_232
    ),
    "shufflenet_v2_x2_0.tv_in1k": Published(
        TORCHVISION + "shufflenetv2_x2_0-8be3c8ee.pth", "8be3c8ee", "BSD-3-Clause", 76.23, EVALUATED_AT_232
    ),
}
