"""Stores how torchvision and timm prepare photographs: python -m tests.reference.make_preprocessing."""

import tempfile
from pathlib import Path

import numpy as np

from tests.reference.photographs import FILE, NAMES, PATCH, write_photographs
from tests.reference.stored import fingerprint
from tests.reference.torch_preprocessing import prepared


def main() -> None:
    """Writes the file: of each prepared photograph a patch of the middle and the fingerprint."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder))
        images = [[prepared(name, path) for name in NAMES] for path in paths]
    patches = [[image[PATCH, PATCH] for image in row] for row in images]
    fingerprints = [[fingerprint("photograph", image) for image in row] for row in images]
    np.savez_compressed(FILE, patches=patches, fingerprints=fingerprints)


if __name__ == "__main__":
    main()
