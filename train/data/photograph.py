"""One photograph, to look at: a file, or one of the two that scikit-learn brings.

Shapes: H height, W width.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

Sample = Literal["china", "flower"]
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601: what Pillow's mode L is


def read_photo(path: Path | None, *, longest: int = 640, sample: Sample = "china") -> np.ndarray:  # uint8 [H, W, 3]
    """Reads a photograph, made smaller where it is large.

    Args:
        path: of an image file; None for the one that scikit-learn brings.
        longest: pixels that the longer side has at most.
        sample: which of those: 427x640 pixels of a temple, or of a flower.

    Raises:
        ValueError: the file is no image that Pillow can read, or larger than Pillow thinks safe.
    """
    if path is None:
        from sklearn.datasets import load_sample_image  # takes a second to import

        return _shrunk(Image.fromarray(load_sample_image(f"{sample}.jpg")), longest)
    try:
        with Image.open(path) as image:
            return _shrunk(image.convert("RGB"), longest)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _shrunk(image: Image.Image, longest: int) -> np.ndarray:
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    return np.asarray(image)


def grey(photo: np.ndarray) -> np.ndarray:  # uint8 [H, W, 3] -> float32 [H, W]
    """Returns the brightness of a photograph, from 0 to 1."""
    return (photo @ np.array(LUMA) / 255).astype(np.float32)
