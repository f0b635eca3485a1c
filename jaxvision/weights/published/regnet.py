"""Published weights of the RegNets, torchvision's.

`tv_in1k` and `tv2_in1k` are IMAGENET1K_V1 and V2. `swag_ft_in1k` and `swag_lc_in1k` are IMAGENET1K_SWAG_E2E_V1 and
SWAG_LINEAR_V1, trained on hashtags (Singh et al., https://arxiv.org/abs/2201.08371), then on ImageNet as a whole or in
the last layer alone; their licence allows no commercial use.
"""

from collections.abc import Mapping

from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published.row import EVALUATED_AT_232, EVALUATED_AT_256, TORCHVISION, Published

WHOLE_AT_224 = Preprocessing(resize=224, crop=224, interpolation="bicubic")
WHOLE_AT_384 = Preprocessing(resize=384, crop=384, interpolation="bicubic")

PUBLISHED: Mapping[str, Published] = {
    "regnet_y_400mf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_400mf-e6988f5f.pth", "e6988f5f", "BSD-3-Clause", 75.804, EVALUATED_AT_232
    ),
    "regnet_y_400mf.tv_in1k": Published(
        TORCHVISION + "regnet_y_400mf-c65dace8.pth", "c65dace8", "BSD-3-Clause", 74.046, EVALUATED_AT_256
    ),
    "regnet_y_800mf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_800mf-58fc7688.pth", "58fc7688", "BSD-3-Clause", 78.828, EVALUATED_AT_232
    ),
    "regnet_y_800mf.tv_in1k": Published(
        TORCHVISION + "regnet_y_800mf-1b27b58c.pth", "1b27b58c", "BSD-3-Clause", 76.42, EVALUATED_AT_256
    ),
    "regnet_y_1_6gf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_1_6gf-0d7bc02a.pth", "0d7bc02a", "BSD-3-Clause", 80.876, EVALUATED_AT_232
    ),
    "regnet_y_1_6gf.tv_in1k": Published(
        TORCHVISION + "regnet_y_1_6gf-b11a554e.pth", "b11a554e", "BSD-3-Clause", 77.95, EVALUATED_AT_256
    ),
    "regnet_y_3_2gf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_3_2gf-9180c971.pth", "9180c971", "BSD-3-Clause", 81.982, EVALUATED_AT_232
    ),
    "regnet_y_3_2gf.tv_in1k": Published(
        TORCHVISION + "regnet_y_3_2gf-b5a9779c.pth", "b5a9779c", "BSD-3-Clause", 78.948, EVALUATED_AT_256
    ),
    "regnet_y_8gf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_8gf-dc2b1b54.pth", "dc2b1b54", "BSD-3-Clause", 82.828, EVALUATED_AT_232
    ),
    "regnet_y_8gf.tv_in1k": Published(
        TORCHVISION + "regnet_y_8gf-d0d0e4a8.pth", "d0d0e4a8", "BSD-3-Clause", 80.032, EVALUATED_AT_256
    ),
    "regnet_y_16gf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_16gf-3e4a00f9.pth", "3e4a00f9", "BSD-3-Clause", 82.886, EVALUATED_AT_232
    ),
    "regnet_y_16gf.tv_in1k": Published(
        TORCHVISION + "regnet_y_16gf-9e6ed7dd.pth", "9e6ed7dd", "BSD-3-Clause", 80.424, EVALUATED_AT_256
    ),
    "regnet_y_16gf.swag_ft_in1k": Published(
        TORCHVISION + "regnet_y_16gf_swag-43afe44d.pth", "43afe44d", "CC-BY-NC-4.0", 86.012, WHOLE_AT_384
    ),
    "regnet_y_16gf.swag_lc_in1k": Published(
        TORCHVISION + "regnet_y_16gf_lc_swag-f3ec0043.pth", "f3ec0043", "CC-BY-NC-4.0", 83.976, WHOLE_AT_224
    ),
    "regnet_y_32gf.tv2_in1k": Published(
        TORCHVISION + "regnet_y_32gf-8db6d4b5.pth", "8db6d4b5", "BSD-3-Clause", 83.368, EVALUATED_AT_232
    ),
    "regnet_y_32gf.tv_in1k": Published(
        TORCHVISION + "regnet_y_32gf-4dee3f7a.pth", "4dee3f7a", "BSD-3-Clause", 80.878, EVALUATED_AT_256
    ),
    "regnet_y_32gf.swag_ft_in1k": Published(
        TORCHVISION + "regnet_y_32gf_swag-04fdfa75.pth", "04fdfa75", "CC-BY-NC-4.0", 86.838, WHOLE_AT_384
    ),
    "regnet_y_32gf.swag_lc_in1k": Published(
        TORCHVISION + "regnet_y_32gf_lc_swag-e1583746.pth", "e1583746", "CC-BY-NC-4.0", 84.622, WHOLE_AT_224
    ),
    "regnet_y_128gf.swag_ft_in1k": Published(
        TORCHVISION + "regnet_y_128gf_swag-c8ce3e52.pth", "c8ce3e52", "CC-BY-NC-4.0", 88.228, WHOLE_AT_384
    ),
    "regnet_y_128gf.swag_lc_in1k": Published(
        TORCHVISION + "regnet_y_128gf_lc_swag-cbe8ce12.pth", "cbe8ce12", "CC-BY-NC-4.0", 86.068, WHOLE_AT_224
    ),
    "regnet_x_400mf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_400mf-62229a5f.pth", "62229a5f", "BSD-3-Clause", 74.864, EVALUATED_AT_232
    ),
    "regnet_x_400mf.tv_in1k": Published(
        TORCHVISION + "regnet_x_400mf-adf1edd5.pth", "adf1edd5", "BSD-3-Clause", 72.834, EVALUATED_AT_256
    ),
    "regnet_x_800mf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_800mf-94a99ebd.pth", "94a99ebd", "BSD-3-Clause", 77.522, EVALUATED_AT_232
    ),
    "regnet_x_800mf.tv_in1k": Published(
        TORCHVISION + "regnet_x_800mf-ad17e45c.pth", "ad17e45c", "BSD-3-Clause", 75.212, EVALUATED_AT_256
    ),
    "regnet_x_1_6gf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_1_6gf-a12f2b72.pth", "a12f2b72", "BSD-3-Clause", 79.668, EVALUATED_AT_232
    ),
    "regnet_x_1_6gf.tv_in1k": Published(
        TORCHVISION + "regnet_x_1_6gf-e3633e7f.pth", "e3633e7f", "BSD-3-Clause", 77.04, EVALUATED_AT_256
    ),
    "regnet_x_3_2gf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_3_2gf-7071aa85.pth", "7071aa85", "BSD-3-Clause", 81.196, EVALUATED_AT_232
    ),
    "regnet_x_3_2gf.tv_in1k": Published(
        TORCHVISION + "regnet_x_3_2gf-f342aeae.pth", "f342aeae", "BSD-3-Clause", 78.364, EVALUATED_AT_256
    ),
    "regnet_x_8gf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_8gf-2b70d774.pth", "2b70d774", "BSD-3-Clause", 81.682, EVALUATED_AT_232
    ),
    "regnet_x_8gf.tv_in1k": Published(
        TORCHVISION + "regnet_x_8gf-03ceed89.pth", "03ceed89", "BSD-3-Clause", 79.344, EVALUATED_AT_256
    ),
    "regnet_x_16gf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_16gf-ba3796d7.pth", "ba3796d7", "BSD-3-Clause", 82.716, EVALUATED_AT_232
    ),
    "regnet_x_16gf.tv_in1k": Published(
        TORCHVISION + "regnet_x_16gf-2007eb11.pth", "2007eb11", "BSD-3-Clause", 80.058, EVALUATED_AT_256
    ),
    "regnet_x_32gf.tv2_in1k": Published(
        TORCHVISION + "regnet_x_32gf-6eb8fdc6.pth", "6eb8fdc6", "BSD-3-Clause", 83.014, EVALUATED_AT_232
    ),
    "regnet_x_32gf.tv_in1k": Published(
        TORCHVISION + "regnet_x_32gf-9d47f8d0.pth", "9d47f8d0", "BSD-3-Clause", 80.622, EVALUATED_AT_256
    ),
}
