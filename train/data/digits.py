"""The handwritten digits that scikit-learn carries: 1,797 grey images of 8x8 pixels, no download.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
"""

from pathlib import Path

import numpy as np

from train.data.images import ImageSet, Split, resize, stratified_split


def load(directory: Path | None, image_size: int) -> ImageSet:
    """Returns the digits, resized, in a fixed stratified split of 60, 20 and 20 per cent.

    Raises:
        ValueError: a directory was given; there is nothing to read from one.
    """
    if directory is not None:
        raise ValueError("the digits are part of scikit-learn: no directory is read")
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.stack([resize(image, image_size) for image in grey])
    labels = digits.target.astype(np.int32)
    parts = stratified_split(labels, (0.6, 0.2, 0.2))
    return ImageSet(tuple("0123456789"), *(Split(images[part], labels[part]) for part in parts))
