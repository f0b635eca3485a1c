"""Images as published weights expect them: equal to what torchvision and timm made of the same photographs."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import jaxvision as jv
from jaxvision.preprocess import Preprocessing
from jaxvision.weights.published import PUBLISHED
from tests.reference.photographs import FILE, NAMES, PATCH, write_photographs
from tests.reference.stored import fingerprint

LEVEL = 1 / 255 / 0.224  # one level of a pixel, after normalisation with the smallest deviation
RELATIVE = 1e-4


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def expected():
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture
def china():
    return Image.fromarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize("name", NAMES)
def test_photographs_are_prepared_as_by_the_publisher(name, photographs, expected):
    column, prepare = NAMES.index(name), jv.preprocessing(name)
    for row, path in enumerate(photographs):
        image = prepare(Image.open(path))
        assert image.dtype == np.float32
        assert image.shape == (prepare.crop, prepare.crop, 3)
        np.testing.assert_allclose(
            image[PATCH, PATCH], expected["patches"][row, column], rtol=0, atol=LEVEL, err_msg=path.name
        )
        stored = expected["fingerprints"][row, column]
        np.testing.assert_allclose(
            fingerprint("photograph", image), stored, rtol=0, atol=RELATIVE * stored[0], err_msg=path.name
        )


def test_every_preprocessing_of_the_table_is_compared():
    assert {row.preprocessing for row in PUBLISHED.values()} == {jv.preprocessing(name) for name in NAMES}


def test_several_images_make_a_batch(china):
    prepare, portrait = jv.preprocessing("resnet18"), china.transpose(Image.Transpose.ROTATE_90)
    batch = prepare([china, np.asarray(portrait)])
    assert batch.shape == (2, 224, 224, 3)
    np.testing.assert_array_equal(batch[0], prepare(china))
    np.testing.assert_array_equal(batch[1], prepare(portrait))
    np.testing.assert_array_equal(prepare(np.stack([china, china])), prepare((china, china)))


@pytest.mark.parametrize("channels", ["L", "RGB", "RGBA"])
def test_arrays_are_as_their_images(china, channels):
    prepare, image = jv.preprocessing("resnet18"), china.convert(channels)
    np.testing.assert_array_equal(prepare(np.asarray(image)), prepare(image))
    np.testing.assert_array_equal(prepare(jnp.asarray(image)), prepare(image))
    if channels == "L":
        np.testing.assert_array_equal(prepare(np.asarray(image)[:, :, None]), prepare(image))


def test_pixels_are_those_before_normalisation(china):
    prepare = jv.preprocessing("resnetv2_50")  # mean and deviation of each channel 0.5
    pixels = prepare.pixels(china)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(prepare(china), pixels / 127.5 - 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("images", "error", "message"), [
    (np.zeros((8, 8, 3), np.float32), TypeError, "array of uint8, 0 to 255; got float32"),
    ("photo.jpg", TypeError, "Pillow image or an array of uint8, 0 to 255; got str"),
    ([None], TypeError, "got NoneType"),
    (np.zeros((8, 8, 2), np.uint8), ValueError, r"\[height, width, 1, 3 or 4\], got \(8, 8, 2\)"),
    (np.zeros(8, np.uint8), ValueError, r"got \(8,\)"),
    (np.zeros((0, 8, 3), np.uint8), ValueError, "at least one pixel, got 8x0"),
    ([], ValueError, "no images"),
])  # fmt: skip
def test_images_that_cannot_be_right(images, error, message):
    with pytest.raises(error, match=message):
        jv.preprocessing("resnet18")(images)


@pytest.mark.parametrize(("fields", "message"), [
    ({"crop": 225}, "crop must be 1 to 224 pixels, as resize is; got 225"),
    ({"crop": 0}, "got 0"),
    ({"interpolation": "cubic"}, "bilinear or bicubic, got 'cubic'"),
])  # fmt: skip
def test_fields_that_cannot_be_right(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"resize": 224, "crop": 224} | fields)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"jaxvision\[images\]"):
        jv.preprocessing("resnet18")(np.zeros((8, 8, 3), np.uint8))
