"""Writes what torchvision makes of two small pictures, and what it draws, to `augmentations.npz`.

python -m tests.reference.make_augmentations
"""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F
from torchvision.transforms.v2.functional import InterpolationMode

from tests.reference import augmentation_cases as cases

KERNELS = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
    "sharpness": F.adjust_sharpness,
    "solarize": F.solarize,
    "autocontrast": lambda image, _: F.autocontrast(image),
    "equalize": lambda image, _: F.equalize(image),
    "grayscale": lambda image, _: F.rgb_to_grayscale(image, 3),
    "gaussian_blur": lambda image, sigma: F.gaussian_blur(image, [5, 5], [sigma, sigma]),
    "gaussian_blur of 23": lambda image, sigma: F.gaussian_blur(image, [23, 23], [sigma, sigma]),
    "erase": lambda image, box: F.erase(image, *box, torch.tensor([0.3, 0.6, 0.9])[:, None, None]),
    "horizontal_flip": lambda image, _: F.horizontal_flip(image),
    "crop": lambda image, corner: F.crop(image, *corner, 17, 20),
}
ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
POLICIES = {"randaugment": v2.RandAugment(), "trivialaugment": v2.TrivialAugmentWide()}


def pictures() -> np.ndarray:
    """Two photographs, made small: uint8 [2, H, W, 3]."""
    height, width = cases.SIZE
    parts = [load_sample_image("china.jpg")[60:300, 200:510], load_sample_image("flower.jpg")[80:320, 150:460]]
    return np.stack([np.asarray(Image.fromarray(part).resize((width, height))) for part in parts])


def results(images: np.ndarray) -> dict[str, np.ndarray]:
    """What torchvision makes of pictures uint8 [2, H, W, 3], by case: float32, or uint8 where it works on bytes."""
    made = {}
    as_bytes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    floats = F.to_dtype(as_bytes, torch.float32, scale=True)
    for name, parameters in cases.CASES.items():
        if name == "posterize":  # of floats torchvision makes other levels than of bytes
            made[name] = stack([F.posterize(image, bits) for image, bits in zip(as_bytes, parameters, strict=True)])
        else:
            made[name] = stack([KERNELS[name](*pair) for pair in zip(floats, parameters, strict=True)])
    for method, antialias, size in cases.RESIZES:
        options = {"interpolation": InterpolationMode(method), "antialias": antialias}
        made[f"{method} {antialias} {size}"] = stack(
            [F.resized_crop(image, *box, size, **options) for image, box in zip(floats, cases.BOXES, strict=True)]
        )
    for mode in ("nearest", "bilinear"):
        options = {"shear": [0.0, 0.0], "interpolation": InterpolationMode(mode)}
        made[f"affine {mode}"] = stack(
            [
                F.affine(image, angle, list(move), scale, **options)
                for image, (angle, move, scale) in zip(floats, cases.AFFINES, strict=True)
            ]
        )
    made["jitter"] = stack([jittered(floats[0], *parameters) for parameters in cases.JITTERS])
    for name, parameters in cases.OPERATIONS:
        for mode in ("nearest", "bilinear") if name in cases.WARPS else ("nearest",):
            made[f"{name} {mode}"] = stack(
                [operation(image, name, amount, mode) for image, amount in zip(as_bytes, parameters, strict=True)]
            )
    return made


def stack(images: list[torch.Tensor]) -> np.ndarray:
    """Channels last."""
    return torch.stack(images).permute(0, 2, 3, 1).contiguous().numpy()


def operation(image: torch.Tensor, name: str, magnitude: float, mode: str) -> torch.Tensor:
    """Applies an operation of the policies."""
    apply = POLICIES["randaugment"]._apply_image_or_video_transform
    return apply(image, name, magnitude, InterpolationMode(mode), {torch.Tensor: None})


def jittered(image, factors, order) -> torch.Tensor:
    """As `ColorJitter` goes through its four changes."""
    for kind in order:
        image = ADJUST[kind](image, factors[kind])
    return image


def tables() -> dict[str, np.ndarray]:
    """Magnitudes [14, STEPS] of both policies, and which operations have a sign."""
    made = {}
    for name, policy in POLICIES.items():
        rows, signs = [], []
        for operation, _ in cases.OPERATIONS:
            values, signed = policy._AUGMENTATION_SPACE[operation]
            values = values(cases.STEPS, *cases.SIZE)
            rows.append(np.zeros(cases.STEPS) if values is None else values.numpy())
            signs.append(signed)
        assert [*policy._AUGMENTATION_SPACE] == [operation for operation, _ in cases.OPERATIONS]
        made[f"magnitudes {name}"] = np.array(rows, np.float32)
        made[f"signed {name}"] = np.array(signs)
    return {**made, "autoaugment": pairs()}


def pairs() -> np.ndarray:  # [25, 2, 3]
    """The pairs of AutoAugment: operation, probability, magnitude; inverting is solarizing from 0 on."""
    names = [name for name, _ in cases.OPERATIONS]
    policy = v2.AutoAugment()
    rows = []
    for name, probability, step in (row for pair in policy._policies for row in pair):
        values, _ = policy._AUGMENTATION_SPACE[name]
        magnitudes = values(10, *cases.SIZE)
        magnitude = 0.0 if magnitudes is None else magnitudes[step].item()
        rows.append((names.index("Solarize" if name == "Invert" else name), probability, magnitude))
    return np.array(rows, np.float32).reshape(-1, 2, 3)


def draws() -> dict[str, np.ndarray]:
    """Boxes (top, left, height, width) and shares that torchvision draws."""
    torch.manual_seed(0)
    image = [torch.zeros(1, 3, *cases.SIZE)]
    crop, erasing = v2.RandomResizedCrop(1, **cases.CROPS), v2.RandomErasing(1.0, **cases.ERASED)
    cutmix = v2.CutMix(alpha=cases.ALPHA, num_classes=2)
    crops = [crop.make_params(image) for _ in range(cases.DRAWS)]
    erased = [erasing.make_params(image) for _ in range(cases.DRAWS)]
    cut = [cutmix.make_params(image) for _ in range(cases.DRAWS)]
    fallbacks = [
        v2.RandomResizedCrop(1, scale, cases.CROPS["ratio"]).make_params([torch.zeros(1, 3, *size)])
        for size, scale in cases.FALLBACKS
    ]
    names = ("top", "left", "height", "width")
    return {
        "crop boxes": np.array([[drawn[name] for name in names] for drawn in crops], np.int16),
        "erased boxes": np.array([[drawn[name] for name in "ijhw"] for drawn in erased], np.int16),
        "cutmix boxes": np.array(
            [(y, x, bottom - y, right - x) for x, y, right, bottom in (c["box"] for c in cut)], np.int16
        ),
        "cutmix shares": np.array([c["lam_adjusted"] for c in cut], np.float32),
        "fallback boxes": np.array([[drawn[name] for name in names] for drawn in fallbacks], np.int16),
    }


def mixed(images: np.ndarray) -> dict[str, np.ndarray]:
    """What MixUp and CutMix make of a batch, with what they drew."""
    torch.manual_seed(1)
    floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    made = {}
    for name, transform in (("mixup", v2.MixUp(num_classes=3)), ("cutmix", v2.CutMix(num_classes=3))):
        drawn = transform.make_params([floats])
        transform.make_params = lambda _, drawn=drawn: drawn
        out, labels = transform(floats, torch.tensor([0, 2]))
        made[f"{name} images"], made[f"{name} labels"] = stack(list(out)), labels.numpy()
        if name == "mixup":
            made["mixup share"] = np.float32(drawn["lam"])
        else:
            left, top, right, bottom = drawn["box"]
            made["cutmix box"] = np.array([top, left, bottom - top, right - left])
    return made


def main() -> None:
    """Writes the file."""
    images = pictures()
    np.savez_compressed(cases.FILE, images=images, **results(images), **tables(), **draws(), **mixed(images))


if __name__ == "__main__":
    main()
