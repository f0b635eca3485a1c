"""Published weights of Swin Transformers: torchvision's, trained by a recipe of its own."""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import TORCHVISION, Published

BICUBIC_AT_232 = Preprocessing(resize=232, crop=224, interpolation="bicubic")
BICUBIC_AT_246 = Preprocessing(resize=246, crop=224, interpolation="bicubic")
BICUBIC_AT_238 = Preprocessing(resize=238, crop=224, interpolation="bicubic")
BICUBIC_AT_260 = Preprocessing(resize=260, crop=256, interpolation="bicubic")
BICUBIC_AT_272 = Preprocessing(resize=272, crop=256, interpolation="bicubic")

PUBLISHED: Mapping[str, Published] = {
    "swin_t.tv_in1k": Published(
        TORCHVISION + "swin_t-704ceda3.pth", "704ceda3", "BSD-3-Clause", 81.474, BICUBIC_AT_232
    ),
    "swin_s.tv_in1k": Published(
        TORCHVISION + "swin_s-5e29d889.pth", "5e29d889", "BSD-3-Clause", 83.196, BICUBIC_AT_246
    ),
    "swin_b.tv_in1k": Published(
        TORCHVISION + "swin_b-68c6b09e.pth", "68c6b09e", "BSD-3-Clause", 83.582, BICUBIC_AT_238
    ),
    "swin_v2_t.tv_in1k": Published(
        TORCHVISION + "swin_v2_t-b137f0e2.pth", "b137f0e2", "BSD-3-Clause", 82.072, BICUBIC_AT_260
    ),
    "swin_v2_s.tv_in1k": Published(
        TORCHVISION + "swin_v2_s-637d8ceb.pth", "637d8ceb", "BSD-3-Clause", 83.712, BICUBIC_AT_260
    ),
    "swin_v2_b.tv_in1k": Published(
        TORCHVISION + "swin_v2_b-781e5279.pth", "781e5279", "BSD-3-Clause", 84.112, BICUBIC_AT_272
    ),
}

UNPUBLISHED = ("swin_tiny_patch2_window4_32",)
