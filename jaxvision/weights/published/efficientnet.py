"""Published weights of the EfficientNets, torchvision's.

`tv_in1k` and `tv2_in1k` are IMAGENET1K_V1 and V2; of B0 to B4 the former are timm's, of B5 to B7 the authors', both
under other names of layers.
"""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import BICUBIC_AT_256, TORCHVISION, Published

INCEPTION_AT_480 = Preprocessing(
    resize=480, crop=480, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)

PUBLISHED: Mapping[str, Published] = {
    "efficientnet_b0.tv_in1k": Published(
        TORCHVISION + "efficientnet_b0_rwightman-7f5810bc.pth", "7f5810bc", "BSD-3-Clause", 77.692, BICUBIC_AT_256
    ),
    "efficientnet_b1.tv2_in1k": Published(
        TORCHVISION + "efficientnet_b1-c27df63c.pth",
        "c27df63c",
        "BSD-3-Clause",
        79.838,
        Preprocessing(resize=255, crop=240),
    ),
    "efficientnet_b1.tv_in1k": Published(
        TORCHVISION + "efficientnet_b1_rwightman-bac287d4.pth",
        "bac287d4",
        "BSD-3-Clause",
        78.642,
        Preprocessing(resize=256, crop=240, interpolation="bicubic"),
    ),
    "efficientnet_b2.tv_in1k": Published(
        TORCHVISION + "efficientnet_b2_rwightman-c35c1473.pth",
        "c35c1473",
        "BSD-3-Clause",
        80.608,
        Preprocessing(resize=288, crop=288, interpolation="bicubic"),
    ),
    "efficientnet_b3.tv_in1k": Published(
        TORCHVISION + "efficientnet_b3_rwightman-b3899882.pth",
        "b3899882",
        "BSD-3-Clause",
        82.008,
        Preprocessing(resize=320, crop=300, interpolation="bicubic"),
    ),
    "efficientnet_b4.tv_in1k": Published(
        TORCHVISION + "efficientnet_b4_rwightman-23ab8bcd.pth",
        "23ab8bcd",
        "BSD-3-Clause",
        83.384,
        Preprocessing(resize=384, crop=380, interpolation="bicubic"),
    ),
    "efficientnet_b5.tv_in1k": Published(
        TORCHVISION + "efficientnet_b5_lukemelas-1a07897c.pth",
        "1a07897c",
        "BSD-3-Clause",
        83.444,
        Preprocessing(resize=456, crop=456, interpolation="bicubic"),
    ),
    "efficientnet_b6.tv_in1k": Published(
        TORCHVISION + "efficientnet_b6_lukemelas-24a108a5.pth",
        "24a108a5",
        "BSD-3-Clause",
        84.008,
        Preprocessing(resize=528, crop=528, interpolation="bicubic"),
    ),
    "efficientnet_b7.tv_in1k": Published(
        TORCHVISION + "efficientnet_b7_lukemelas-c5b4e57e.pth",
        "c5b4e57e",
        "BSD-3-Clause",
        84.122,
        Preprocessing(resize=600, crop=600, interpolation="bicubic"),
    ),
    "efficientnet_v2_s.tv_in1k": Published(
        TORCHVISION + "efficientnet_v2_s-dd5fe13b.pth",
        "dd5fe13b",
        "BSD-3-Clause",
        84.228,
        Preprocessing(resize=384, crop=384),
    ),
    "efficientnet_v2_m.tv_in1k": Published(
        TORCHVISION + "efficientnet_v2_m-dc08266a.pth",
        "dc08266a",
        "BSD-3-Clause",
        85.112,
        Preprocessing(resize=480, crop=480),
    ),
    "efficientnet_v2_l.tv_in1k": Published(
        TORCHVISION + "efficientnet_v2_l-59c71312.pth", "59c71312", "BSD-3-Clause", 85.808, INCEPTION_AT_480
    ),
}
