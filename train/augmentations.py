"""Draws what augmentations make of photographs: `python -m train.augmentations photo.png --output sheet.png`.

A row for each augmentation, with several draws of it. Shapes: D draws, H height, W width.
"""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sklearn.datasets import load_sample_image

from jaxvision import augment
from train.shared.files import write_atomically
from train.shared.run import exit_on
from train.shared.seeds import check_seed

GAP, LABEL, TEXT = 4, 150, 13  # pixels: between tiles, the column of names, the height of the letters
PAPER, INK = (255, 255, 255), (31, 41, 51)


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw what augmentations make of photographs."""

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Image files; by default a photograph that scikit-learn brings. With several, the draws take turns."""
    output: Path = Path("augmentations.png")
    """PNG file to write."""
    draws: int = 8
    """Of each augmentation, one a column."""
    size: int = 112
    """Height and width of each image."""
    seed: int = 0
    """Of the draws."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name, least in (("draws", 1), ("size", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be {least} or more, got {getattr(self, name)}")
        check_seed(self.seed)


def augmentations(size: int) -> dict[str, Callable]:
    """Returns every augmentation of the library, with settings that show it, for images of this size."""
    labels = lambda images: jnp.eye(len(images))
    kernel = size // 10 // 2 * 2 + 1  # SimCLR's, a tenth of the height
    return {
        "original": lambda key, images: images,
        "random_crop": lambda key, images: augment.random_crop(key, images, size=size, padding=size // 8),
        "random_resized_crop": lambda key, images: augment.random_resized_crop(key, images, size=size),
        "random_horizontal_flip": augment.random_horizontal_flip,
        "random_affine": lambda key, images: augment.random_affine(
            key, images, degrees=15, translate=0.08, scale=(0.85, 1.15)
        ),
        "color_jitter": lambda key, images: augment.color_jitter(
            key, images, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
        ),
        "random_pca_color_shift": augment.random_pca_color_shift,
        "random_grayscale": lambda key, images: augment.random_grayscale(key, images, probability=0.5),
        "random_gaussian_blur": lambda key, images: augment.random_gaussian_blur(key, images, kernel_size=kernel),
        "random_solarize": augment.random_solarize,
        "random_erasing": lambda key, images: augment.random_erasing(key, images, probability=1.0),
        "cutout": lambda key, images: augment.cutout(key, images, size=size // 2),
        "mixup": lambda key, images: augment.mixup(key, images, labels(images))[0],
        "cutmix": lambda key, images: augment.cutmix(key, images, labels(images))[0],
        **{name: augment.recipe(name, size) for name in augment.RECIPES},
    }


def photographs(options: Options) -> np.ndarray:  # uint8 [D, H, W, 3]
    """Reads the photographs, or scikit-learn's two, as many as there are draws, each cut to a square in its middle.

    Raises:
        ValueError: a file is no image that Pillow can read.
    """
    if options.photos:
        images = [read_square(path, options.size) for path in options.photos]
    else:
        samples = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
        images = [square(sample, options.size) for sample in samples]
    return np.stack([images[draw % len(images)] for draw in range(options.draws)])


def read_square(path: Path, size: int) -> np.ndarray:  # uint8 [H, W, 3]
    """Reads the middle of an image file.

    Raises:
        ValueError: the file is no image that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            return square(image.convert("RGB"), size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def square(image: Image.Image, size: int) -> np.ndarray:  # uint8 [H, W, 3]
    """Resizes an image to a square, without what is too wide or too high."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def contact_sheet(photos: np.ndarray, seed: int) -> Image.Image:  # uint8 [D, H, W, 3]
    """Draws all augmentations of the photographs, a row each, beside their names."""
    count, size = photos.shape[:2]
    images = jnp.asarray(photos, jnp.float32) / 255
    rows = augmentations(size)
    sheet = Image.new("RGB", (LABEL + count * (size + GAP) + GAP, len(rows) * (size + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for index, (name, apply) in enumerate(rows.items()):
        top = GAP + index * (size + GAP)
        pen.text((2 * GAP, top + size / 2), name.replace("_", " "), INK, font, anchor="lm")
        augmented = jax.jit(apply)(jax.random.fold_in(jax.random.key(seed), index), images)
        tiles = np.asarray(jnp.round(jnp.clip(augmented, 0, 1) * 255)).astype(np.uint8)
        for column, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(tile), (LABEL + GAP + column * (size + GAP), top))
    return sheet


def main() -> None:
    """Draws as the command line says."""
    options = tyro.cli(Options, prog="python -m train.augmentations", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(ValueError, OSError):
        if options.output.exists() and not options.overwrite:
            raise ValueError(f"{options.output} exists: give another --output, or --overwrite")
        png = io.BytesIO()
        contact_sheet(photographs(options), options.seed).save(png, "PNG", optimize=True)
        write_atomically(options.output, png.getvalue())
    print(f"contact sheet: {options.output}")


if __name__ == "__main__":
    main()
