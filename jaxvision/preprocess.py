"""What a set of published weights expects of its images.

Shapes: B batch, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from jax.typing import ArrayLike

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From photographs to what a model was evaluated on: RGB, resized, cropped in the centre, normalised.

    As torchvision's `weights.transforms()` and timm's evaluation transforms do with Pillow images, pixel for pixel:
    Pillow resizes, always with antialiasing. As their readers of image folders do, an image is first converted to RGB
    (transparency is dropped), and an orientation in its EXIF data is not applied: `PIL.ImageOps.exif_transpose` does.

    Attributes:
        resize: length of the shorter side after resizing, in pixels.
        crop: height and width of the crop, in pixels.
        interpolation: of the resizing.
        mean, std: of each channel, of pixels scaled to 0..1.
    """

    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        """Checks what nothing later would.

        Raises:
            ValueError: the crop is empty or larger than the resized image, or the interpolation is unknown.
        """
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"crop must be 1 to {self.resize} pixels, as resize is; got {self.crop}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"interpolation must be bilinear or bicubic, got {self.interpolation!r}")

    def __str__(self) -> str:
        """Returns such as "224 of 256 bilinear"; the mean and the deviation are left out."""
        return f"{self.crop} of {self.resize} {self.interpolation}"

    def __call__(self, images: "Image | ArrayLike | Sequence[Image | ArrayLike]") -> np.ndarray:
        """Prepares one image or several.

        Args:
            images: a Pillow image of any mode, or uint8 pixels [H, W] or [H, W, C] of 1 (grey), 3 (RGB) or 4 (RGBA)
                channels; or a list of such images, of any sizes, or uint8 pixels [B, H, W, C].

        Returns:
            float32 [crop, crop, 3] of one image, [B, crop, crop, 3] of several.

        Raises:
            TypeError: an image is neither.
            ValueError: an array has another shape, or there are no images or no pixels.
            ImportError: Pillow is not installed.
        """
        return (self.pixels(images) / np.float32(255) - np.float32(self.mean)) / np.float32(self.std)

    def pixels(self, images: "Image | ArrayLike | Sequence[Image | ArrayLike]") -> np.ndarray:
        """Returns the same before normalisation, as uint8."""
        if not (isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4):
            return self._pixels(images)
        if len(images) == 0:
            raise ValueError("there are no images to prepare")
        return np.stack([self._pixels(image) for image in images])

    def _pixels(self, image: "Image | ArrayLike") -> np.ndarray:  # -> [crop, crop, 3]
        resized = _resize(_as_rgb(image), self.resize, self.interpolation)
        left, top = (round((length - self.crop) / 2) for length in resized.size)  # halves to even, as torchvision does
        return np.asarray(resized.crop((left, top, left + self.crop, top + self.crop)))


def _as_rgb(image: "Image | ArrayLike") -> "Image":
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("preprocessing needs Pillow: pip install 'jaxvision[images]'") from error
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_checked(image))
    if 0 in image.size:
        raise ValueError(f"an image must have at least one pixel, got {image.width}x{image.height}")
    return image.convert("RGB")


def _checked(image: ArrayLike) -> np.ndarray:  # [H, W] or [H, W, C] -> [H, W], [H, W, 3] or [H, W, 4]
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        kind = pixels.dtype if pixels.dtype.kind in "biufc" else type(image).__name__
        raise TypeError(f"an image must be a Pillow image or an array of uint8, 0 to 255; got {kind}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ValueError(f"an image must be [height, width] or [height, width, 1, 3 or 4], got {pixels.shape}")
    return pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels


def _resize(image: "Image", size: int, interpolation: str) -> "Image":
    """Makes the shorter side `size` pixels long; the longer one is rounded down, as torchvision does."""
    from PIL import Image

    short, long = min(image.size), max(image.size)
    other = int(size * long / short)
    width, height = (size, other) if image.width <= image.height else (other, size)
    return image.resize((width, height), Image.Resampling[interpolation.upper()])
