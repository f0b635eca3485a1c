"""torchvision's MobileNetV2."""

from functools import partial

from torchvision.models import MobileNetV2

from tests.reference.torch_families.reference import Reference

ROWS = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]

INFERENCE = {
    "mobilenet_v2": Reference(
        MobileNetV2, ("features.1", "features.3", "features.6", "features.13", "features.17"), "classifier.0"
    )
}
SHORT = {
    "mobilenet_v2_short": Reference(
        partial(MobileNetV2, inverted_residual_setting=ROWS, dropout=0.0), (), "classifier.0"
    )
}
