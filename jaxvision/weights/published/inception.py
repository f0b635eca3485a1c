"""Published weights of Inception v3, which torchvision took over from TensorFlow."""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "inception_v3.tv_in1k": Published(
        TORCHVISION + "inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
        "BSD-3-Clause",
        77.294,
        Preprocessing(resize=342, crop=299),
        {"transform_input": True},
    ),
}
