"""Writes `decoded.npz`: what torchvision's Resize and CenterCrop make of images of several shapes.

python -m tests.reference.make_decoded
"""

from pathlib import Path

import numpy as np
from PIL import Image

FILE = Path(__file__).with_name("decoded.npz")
SHAPES = {"wide": (37, 53, 3), "tall": (64, 41, 3), "square": (50, 50, 3), "long": (20, 91, 3), "grey": (45, 34)}
SIZES = {"whole": (32, 32), "cropped": (36, 32)}  # to which the shorter side is resized, and which is cut out


def image(name: str) -> np.ndarray:  # [H, W, 3] or [H, W]
    """Returns noise with some smoothness, so that a shift by part of a pixel shows and an edge does not clip."""
    height, width, *channels = SHAPES[name]
    noise = np.random.RandomState(sum(SHAPES[name])).randint(0, 256, (height // 4 + 1, width // 4 + 1, *channels))
    return np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC))


def torchvision_result(name: str, resize: int, crop: int) -> np.ndarray:  # [crop, crop, C]
    """Returns what torchvision makes of an image."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    transform = Compose([Resize(resize, InterpolationMode.BILINEAR), CenterCrop(crop)])
    return np.asarray(transform(Image.fromarray(image(name)))).reshape(crop, crop, -1)


if __name__ == "__main__":
    np.savez_compressed(
        FILE, **{f"{name} {kind}": torchvision_result(name, *sizes) for name in SHAPES for kind, sizes in SIZES.items()}
    )
