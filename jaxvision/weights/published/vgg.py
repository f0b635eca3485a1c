"""Published weights of VGG."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_256, TORCHVISION, Published


def _torchvision(file: str, accuracy: float) -> Published:
    digest = file.removesuffix(".pth")[-8:]
    return Published(TORCHVISION + file, digest, "BSD-3-Clause", accuracy, EVALUATED_AT_256)


PUBLISHED: Mapping[str, Published] = {
    "vgg11.tv_in1k": _torchvision("vgg11-8a719046.pth", 69.02),
    "vgg13.tv_in1k": _torchvision("vgg13-19584684.pth", 69.928),
    "vgg16.tv_in1k": _torchvision("vgg16-397923af.pth", 71.592),
    "vgg19.tv_in1k": _torchvision("vgg19-dcbb9e9d.pth", 72.376),
    "vgg11_bn.tv_in1k": _torchvision("vgg11_bn-6002323d.pth", 70.37),
    "vgg13_bn.tv_in1k": _torchvision("vgg13_bn-abd245e5.pth", 71.586),
    "vgg16_bn.tv_in1k": _torchvision("vgg16_bn-6c64b313.pth", 73.36),
    "vgg19_bn.tv_in1k": _torchvision("vgg19_bn-c79401a0.pth", 74.218),
}
