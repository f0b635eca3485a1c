"""Published weights of the residual networks.

`tv_in1k` and `tv2_in1k` are torchvision's IMAGENET1K_V1 and V2, `a1_in1k` and `a1h_in1k` of "ResNet strikes back",
https://arxiv.org/abs/2110.00476, `ra4_e3600_r224_in1k` of 3,600 epochs. The addresses of resnetv2_50 and 101 are those
of timm 0.6. The whole digests of resnet34.* and resnet101.a1_in1k are of one project alone.
"""

from collections.abc import Mapping

from jaxvision.weights.published.row import (
    BICUBIC_AT_256,
    BICUBIC_AT_269,
    EVALUATED_AT_232,
    EVALUATED_AT_235,
    EVALUATED_AT_256,
    INCEPTION_AT_235,
    INCEPTION_AT_248,
    TIMM,
    TORCHVISION,
    Published,
)

PUBLISHED: Mapping[str, Published] = {
    "resnet18.tv_in1k": Published(
        "hf:timm/resnet18.tv_in1k@bbd144b3e5565108aad885f145491d11bc6ce807",
        "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
        "BSD-3-Clause",
        69.758,
        EVALUATED_AT_256,
    ),
    "resnet18.a1_in1k": Published(
        "hf:timm/resnet18.a1_in1k@491b427b45c94c7fb0e78b5474cc919aff584bbf",
        "80c49dee3da4822c009c5a7fe591e9223c5a2cfcf95a4067ca4dfb5a7b89c612",
        "Apache-2.0",
        71.504,
        EVALUATED_AT_235,
    ),
    "resnet34.tv_in1k": Published(
        "hf:timm/resnet34.tv_in1k@1b7b21cca82ff974d341713f777bf740c2db38c4",
        "0bb82595a564991a9d424708b33f5d843f5aaed7f6c0886ff10849ff97022235",
        "BSD-3-Clause",
        73.314,
        EVALUATED_AT_256,
    ),
    "resnet34.a1_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnet34_a1_0-46f8f793.pth",
        "46f8f7930534e471b9a139b278896db5d11d17b8ea3fcc90ad43deed9e5e27d7",
        "Apache-2.0",
        76.42,
        EVALUATED_AT_235,
    ),
    "resnet50.tv_in1k": Published(
        "hf:timm/resnet50.tv_in1k@78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        "BSD-3-Clause",
        76.13,
        EVALUATED_AT_256,
    ),
    "resnet50.a1_in1k": Published(
        "hf:timm/resnet50.a1_in1k@767268603ca0cb0bfe326fa87277f19c419566ef",
        "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
        "Apache-2.0",
        80.382,
        EVALUATED_AT_235,
    ),
    "resnet50.tv2_in1k": Published(
        TORCHVISION + "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        "BSD-3-Clause",
        80.858,
        EVALUATED_AT_232,
    ),
    "resnet101.a1_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnet101_a1_0-cdcb52a9.pth",
        "cdcb52a9df09a641606696e5520e4fbbe8256ee4983d8b4dd1a1ef87a9b8846f",
        "Apache-2.0",
        81.494,
        EVALUATED_AT_235,
    ),
    "resnet101.tv2_in1k": Published(
        TORCHVISION + "resnet101-cd907fc2.pth",
        "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
        "BSD-3-Clause",
        81.886,
        EVALUATED_AT_232,
    ),
    "resnet101.tv_in1k": Published(
        TORCHVISION + "resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        "BSD-3-Clause",
        77.374,
        EVALUATED_AT_256,
    ),
    "resnet152.a1_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnet152_a1_0-2eee8a7a.pth", "2eee8a7a", "Apache-2.0", 81.998, EVALUATED_AT_235
    ),
    "resnet152.tv2_in1k": Published(
        TORCHVISION + "resnet152-f82ba261.pth", "f82ba261", "BSD-3-Clause", 82.284, EVALUATED_AT_232
    ),
    "resnet152.tv_in1k": Published(
        TORCHVISION + "resnet152-394f9c45.pth",
        "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
        "BSD-3-Clause",
        78.312,
        EVALUATED_AT_256,
    ),
    "resnetv2_18.ra4_e3600_r224_in1k": Published(
        "hf:timm/resnetv2_18.ra4_e3600_r224_in1k", "", "Apache-2.0", 73.572, INCEPTION_AT_248
    ),
    "resnetv2_34.ra4_e3600_r224_in1k": Published(
        "hf:timm/resnetv2_34.ra4_e3600_r224_in1k", "", "Apache-2.0", 77.626, INCEPTION_AT_248
    ),
    "resnetv2_50.a1h_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49.pth", "000cdf49", "Apache-2.0", 80.41, INCEPTION_AT_235
    ),
    "resnetv2_101.a1h_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnetv2_101_a1h-5d01f016.pth", "5d01f016", "Apache-2.0", 82.042, INCEPTION_AT_235
    ),
    "resnext50_32x4d.a1h_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a.pth", "0146ab0a", "Apache-2.0", 81.14, EVALUATED_AT_235
    ),
    "resnext50_32x4d.tv2_in1k": Published(
        TORCHVISION + "resnext50_32x4d-1a0047aa.pth", "1a0047aa", "BSD-3-Clause", 81.198, EVALUATED_AT_232
    ),
    "resnext50_32x4d.tv_in1k": Published(
        TORCHVISION + "resnext50_32x4d-7cdf4587.pth", "7cdf4587", "BSD-3-Clause", 77.618, EVALUATED_AT_256
    ),
    "resnext101_32x8d.tv2_in1k": Published(
        TORCHVISION + "resnext101_32x8d-110c445d.pth", "110c445d", "BSD-3-Clause", 82.834, EVALUATED_AT_232
    ),
    "resnext101_32x8d.tv_in1k": Published(
        TORCHVISION + "resnext101_32x8d-8ba56ff5.pth", "8ba56ff5", "BSD-3-Clause", 79.312, EVALUATED_AT_256
    ),
    "resnext101_64x4d.tv_in1k": Published(
        TORCHVISION + "resnext101_64x4d-173b62eb.pth", "173b62eb", "BSD-3-Clause", 83.246, EVALUATED_AT_232
    ),
    "wide_resnet50_2.racm_in1k": Published(
        "hf:timm/wide_resnet50_2.racm_in1k@30f73aceaaa1911830a9795b83ab1908dba18719",
        "03b71d65fb2c73bb0de079a1781009f27a782ec481d2f64ab3bde9b1cdec3000",
        "Apache-2.0",
        81.466,
        BICUBIC_AT_256,
    ),
    "wide_resnet50_2.tv2_in1k": Published(
        TORCHVISION + "wide_resnet50_2-9ba9bcbe.pth", "9ba9bcbe", "BSD-3-Clause", 81.602, EVALUATED_AT_232
    ),
    "wide_resnet50_2.tv_in1k": Published(
        TORCHVISION + "wide_resnet50_2-95faca4d.pth",
        "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",
        "BSD-3-Clause",
        78.468,
        EVALUATED_AT_256,
    ),
    "wide_resnet101_2.tv2_in1k": Published(
        TORCHVISION + "wide_resnet101_2-d733dc28.pth", "d733dc28", "BSD-3-Clause", 82.51, EVALUATED_AT_232
    ),
    "wide_resnet101_2.tv_in1k": Published(
        TORCHVISION + "wide_resnet101_2-32ee1156.pth", "32ee1156", "BSD-3-Clause", 78.848, EVALUATED_AT_256
    ),
    "resnet18d.ra2_in1k": Published(
        TIMM + "v0.1-weights/resnet18d_ra2-48a79e06.pth", "48a79e06", "Apache-2.0", 72.296, BICUBIC_AT_256
    ),
    "resnet34d.ra2_in1k": Published(
        TIMM + "v0.1-weights/resnet34d_ra2-f8dcfcaf.pth", "f8dcfcaf", "Apache-2.0", 77.108, BICUBIC_AT_256
    ),
    "resnet50d.ra2_in1k": Published(
        TIMM + "v0.1-weights/resnet50d_ra2-464e36ba.pth", "464e36ba", "Apache-2.0", 80.546, BICUBIC_AT_256
    ),
    "resnet50d.a1_in1k": Published(
        TIMM + "v0.1-rsb-weights/resnet50d_a1_0-e20cff14.pth", "e20cff14", "Apache-2.0", 80.73, EVALUATED_AT_235
    ),
    "resnet101d.ra2_in1k": Published(
        TIMM + "v0.1-weights/resnet101d_ra2-2803ffab.pth", "2803ffab", "Apache-2.0", 82.254, BICUBIC_AT_269
    ),
    "resnet152d.ra2_in1k": Published(
        TIMM + "v0.1-weights/resnet152d_ra2-5cac0439.pth", "5cac0439", "Apache-2.0", 83.16, BICUBIC_AT_269
    ),
    "seresnet50.ra2_in1k": Published(
        TIMM + "v0.1-weights/seresnet50_ra_224-8efdb4bb.pth", "8efdb4bb", "Apache-2.0", 80.26, BICUBIC_AT_256
    ),
    "seresnet50.a1_in1k": Published(
        TIMM + "v0.1-rsb-weights/seresnet50_a1_0-ffa00869.pth", "ffa00869", "Apache-2.0", 80.012, EVALUATED_AT_235
    ),
    "seresnext50_32x4d.racm_in1k": Published(
        TIMM + "v0.1-weights/seresnext50_32x4d_racm-a304a460.pth", "a304a460", "Apache-2.0", 81.268, BICUBIC_AT_256
    ),
    "seresnext101_32x4d.gluon_in1k": Published(
        "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/gluon_seresnext101_32x4d-cf52900d.pth",
        "cf52900d",
        "Apache-2.0",
        80.886,
        BICUBIC_AT_256,
    ),
    "seresnext26d_32x4d.bt_in1k": Published(
        TIMM + "v0.1-weights/seresnext26d_32x4d-80fa48a3.pth", "80fa48a3", "Apache-2.0", 77.592, BICUBIC_AT_256
    ),
}

UNPUBLISHED = (
    *("plain18", "plain34", "plain8", "plain20", "plain56"),
    *("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    *("preact_resnet20", "preact_resnet56", "preact_resnet110"),
    "resnetv2_152",
    *("seresnet18", "seresnet34", "seresnet101", "seresnet152"),
)
