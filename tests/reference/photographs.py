"""Image files of every kind that a preprocessing must read as the reference implementations' loaders do."""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_image

from tests.reference.stored import FOLDER

FILE = FOLDER / "preprocessing.npz"  # `patches` and `fingerprints`, by photograph and by name
NAMES = [  # of weights, one for each preprocessing
    "resnet50.tv_in1k",
    "resnet50.tv2_in1k",
    "resnet50.a1_in1k",
    "resnet50d.ra2_in1k",
    "resnet101d.ra2_in1k",
    "resnetv2_50.a1h_in1k",
    "resnetv2_18.ra4_e3600_r224_in1k",
    "inception_v3.tv_in1k",
    "convnext_tiny.tv_in1k",
    "convnext_small.tv_in1k",
    "regnet_y_16gf.swag_ft_in1k",
    "regnet_y_16gf.swag_lc_in1k",
    "efficientnet_b1.tv_in1k",
    "efficientnet_b1.tv2_in1k",
    "efficientnet_b2.tv_in1k",
    "efficientnet_b3.tv_in1k",
    "efficientnet_b4.tv_in1k",
    "efficientnet_b5.tv_in1k",
    "efficientnet_b6.tv_in1k",
    "efficientnet_b7.tv_in1k",
    "efficientnet_v2_s.tv_in1k",
    "efficientnet_v2_m.tv_in1k",
    "efficientnet_v2_l.tv_in1k",
    "vit_l_16.tv_in1k",
    "vit_l_16.swag_ft_in1k",
    "vit_h_14.swag_ft_in1k",
    "deit_tiny_patch16_224.fb_in1k",
    "swin_t.tv_in1k",
    "swin_s.tv_in1k",
    "swin_b.tv_in1k",
    "swin_v2_t.tv_in1k",
    "swin_v2_b.tv_in1k",
]
PATCH = slice(110, 114)  # of the prepared image, in either direction
ROTATED_BY_90 = 6  # an orientation in EXIF, whose tag is 0x0112


def write_photographs(folder: Path) -> list[Path]:
    """Writes two photographs in several shapes and modes, and returns the paths of the files."""
    china, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))  # 640x427
    exif = Image.Exif()
    exif[0x0112] = ROTATED_BY_90
    transparent = china.resize((320, 213))
    transparent.putalpha(flower.convert("L").resize(transparent.size))
    images = {
        "landscape.png": china,
        "portrait.png": flower.transpose(Image.Transpose.ROTATE_90),
        "odd.png": china.crop((0, 0, 333, 301)),
        "panorama.png": flower.crop((0, 100, 640, 171)),
        "small.png": china.resize((101, 57)),
        "pixel.png": flower.crop((300, 200, 301, 201)),
        "exact.png": flower.resize((300, 256)),
        "grey.png": flower.convert("L"),
        "bilevel.png": china.resize((160, 107)).convert("1"),
        "palette.png": china.resize((320, 213)).convert("P"),
        "grey_alpha.png": transparent.convert("LA"),
        "transparent.png": transparent,
        "cmyk.jpg": flower.convert("CMYK"),
        "turned.jpg": china,
    }
    for name, image in images.items():
        image.save(folder / name, **({"exif": exif} if name == "turned.jpg" else {}))
    return [folder / name for name in images]
