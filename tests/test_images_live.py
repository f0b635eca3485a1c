"""Torchvision itself: whether the stored images are its own, and ours are on images of many more shapes."""

import numpy as np
import pytest
from PIL import Image

from tests.reference import make_decoded
from train.data.images import resize

transforms = pytest.importorskip("torchvision.transforms")

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("name", make_decoded.SHAPES)
def test_stored_images(name):
    stored = np.load(make_decoded.FILE)
    for kind, sizes in make_decoded.SIZES.items():
        np.testing.assert_array_equal(make_decoded.torchvision_result(name, *sizes), stored[f"{name} {kind}"])


def test_images_of_any_shape():
    random = np.random.RandomState(0)
    for _ in range(100):
        height, width, size = random.randint(5, 120, 3)
        image = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
        transform = transforms.Compose([transforms.Resize(int(size)), transforms.CenterCrop(int(size))])
        np.testing.assert_array_equal(resize(image, size), np.asarray(transform(Image.fromarray(image))))
