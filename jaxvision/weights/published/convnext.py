"""Published weights of ConvNeXt: torchvision's, trained by a recipe of its own."""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import EVALUATED_AT_232, TORCHVISION, Published

EVALUATED_AT_230 = Preprocessing(resize=230, crop=224)
EVALUATED_AT_236 = Preprocessing(resize=236, crop=224)

PUBLISHED: Mapping[str, Published] = {
    "convnext_tiny.tv_in1k": Published(
        TORCHVISION + "convnext_tiny-983f1562.pth", "983f1562", "BSD-3-Clause", 82.52, EVALUATED_AT_236
    ),
    "convnext_small.tv_in1k": Published(
        TORCHVISION + "convnext_small-0c510722.pth", "0c510722", "BSD-3-Clause", 83.616, EVALUATED_AT_230
    ),
    "convnext_base.tv_in1k": Published(
        TORCHVISION + "convnext_base-6075fbad.pth", "6075fbad", "BSD-3-Clause", 84.062, EVALUATED_AT_232
    ),
    "convnext_large.tv_in1k": Published(
        TORCHVISION + "convnext_large-ea097f82.pth", "ea097f82", "BSD-3-Clause", 84.414, EVALUATED_AT_232
    ),
}
