"""Published weights of Vision Transformers.

`tv_in1k` is torchvision's IMAGENET1K_V1, `swag_ft_in1k` and `swag_lc_in1k` its IMAGENET1K_SWAG_E2E_V1 and
IMAGENET1K_SWAG_LINEAR_V1, `augreg_*` are of "How to train your ViT?", https://arxiv.org/abs/2106.10270, `fb_in1k` of
DeiT's authors.
"""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import EVALUATED_AT_256, INCEPTION_AT_248, TORCHVISION, Published

DEIT = "https://dl.fbaipublicfiles.com/deit/"

EVALUATED_AT_242 = Preprocessing(resize=242, crop=224)
BICUBIC_AT_248 = Preprocessing(resize=248, crop=224, interpolation="bicubic")  # 224 / 0.9
WHOLE_AT_224, WHOLE_AT_384, WHOLE_AT_512, WHOLE_AT_518 = (
    Preprocessing(resize=size, crop=size, interpolation="bicubic") for size in (224, 384, 512, 518)
)

PUBLISHED: Mapping[str, Published] = {
    "vit_b_16.tv_in1k": Published(
        TORCHVISION + "vit_b_16-c867db91.pth", "c867db91", "BSD-3-Clause", 81.072, EVALUATED_AT_256
    ),
    "vit_b_16.swag_ft_in1k": Published(
        TORCHVISION + "vit_b_16_swag-9ac1b537.pth",
        "9ac1b537",
        "CC-BY-NC-4.0",
        85.304,
        WHOLE_AT_384,
        {"image_size": 384},
    ),
    "vit_b_16.swag_lc_in1k": Published(
        TORCHVISION + "vit_b_16_lc_swag-4e70ced5.pth", "4e70ced5", "CC-BY-NC-4.0", 81.886, WHOLE_AT_224
    ),
    "vit_b_32.tv_in1k": Published(
        TORCHVISION + "vit_b_32-d86f8d99.pth", "d86f8d99", "BSD-3-Clause", 75.912, EVALUATED_AT_256
    ),
    "vit_l_16.tv_in1k": Published(
        TORCHVISION + "vit_l_16-852ce7e3.pth", "852ce7e3", "BSD-3-Clause", 79.662, EVALUATED_AT_242
    ),
    "vit_l_16.swag_ft_in1k": Published(
        TORCHVISION + "vit_l_16_swag-4f3808c9.pth",
        "4f3808c9",
        "CC-BY-NC-4.0",
        88.064,
        WHOLE_AT_512,
        {"image_size": 512},
    ),
    "vit_l_16.swag_lc_in1k": Published(
        TORCHVISION + "vit_l_16_lc_swag-4d563306.pth", "4d563306", "CC-BY-NC-4.0", 85.146, WHOLE_AT_224
    ),
    "vit_l_32.tv_in1k": Published(
        TORCHVISION + "vit_l_32-c7638314.pth", "c7638314", "BSD-3-Clause", 76.972, EVALUATED_AT_256
    ),
    "vit_h_14.swag_ft_in1k": Published(
        TORCHVISION + "vit_h_14_swag-80465313.pth",
        "80465313",
        "CC-BY-NC-4.0",
        88.552,
        WHOLE_AT_518,
        {"image_size": 518},
    ),
    "vit_h_14.swag_lc_in1k": Published(
        TORCHVISION + "vit_h_14_lc_swag-c1eb923e.pth", "c1eb923e", "CC-BY-NC-4.0", 85.708, WHOLE_AT_224
    ),
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": Published(
        "hf:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "", "Apache-2.0", 75.454, INCEPTION_AT_248
    ),
    "vit_small_patch16_224.augreg_in21k_ft_in1k": Published(
        "hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "", "Apache-2.0", 81.384, INCEPTION_AT_248
    ),
    "vit_small_patch16_224.augreg_in1k": Published(
        "hf:timm/vit_small_patch16_224.augreg_in1k", "", "Apache-2.0", 78.846, INCEPTION_AT_248
    ),
    "deit_tiny_patch16_224.fb_in1k": Published(
        DEIT + "deit_tiny_patch16_224-a1311bcf.pth", "a1311bcf", "Apache-2.0", 72.172, BICUBIC_AT_248
    ),
    "deit_small_patch16_224.fb_in1k": Published(
        DEIT + "deit_small_patch16_224-cd65a155.pth", "cd65a155", "Apache-2.0", 79.844, BICUBIC_AT_248
    ),
    "deit_base_patch16_224.fb_in1k": Published(
        DEIT + "deit_base_patch16_224-b5f2ef4d.pth", "b5f2ef4d", "Apache-2.0", 81.992, BICUBIC_AT_248
    ),
    "deit_tiny_distilled_patch16_224.fb_in1k": Published(
        DEIT + "deit_tiny_distilled_patch16_224-b40b3cf7.pth", "b40b3cf7", "Apache-2.0", 74.5, BICUBIC_AT_248
    ),
    "deit_small_distilled_patch16_224.fb_in1k": Published(
        DEIT + "deit_small_distilled_patch16_224-649709d9.pth", "649709d9", "Apache-2.0", 81.218, BICUBIC_AT_248
    ),
    "deit_base_distilled_patch16_224.fb_in1k": Published(
        DEIT + "deit_base_distilled_patch16_224-df68dfff.pth", "df68dfff", "Apache-2.0", 83.386, BICUBIC_AT_248
    ),
}

UNPUBLISHED = ("vit_tiny_patch4_32", "simple_vit_s_16", "simple_vit_b_16")
