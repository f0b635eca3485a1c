"""Every preprocessing beside that of its publisher, on photographs of all kinds."""

import numpy as np
import pytest
from PIL import Image

import jaxvision as jv
from jaxvision.weights.published import PUBLISHED
from tests.reference.photographs import FILE, NAMES, PATCH, write_photographs

torch_preprocessing = pytest.importorskip("tests.reference.torch_preprocessing")

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_photographs_are_prepared_as_by_the_publisher(name, photographs):
    """The pixels are the same; the normalisation may round otherwise."""
    prepare = jv.preprocessing(name)
    for path in photographs:
        theirs = torch_preprocessing.prepared(name, path)
        np.testing.assert_allclose(prepare(Image.open(path)), theirs, rtol=0, atol=1e-6, err_msg=path.name)
        levels = np.round((theirs * prepare.std + prepare.mean) * 255)
        np.testing.assert_array_equal(prepare.pixels(Image.open(path)), levels, err_msg=path.name)


@pytest.mark.parametrize("name", NAMES)
def test_stored_patches(name, photographs):
    with np.load(FILE) as file:
        stored = file["patches"][:, NAMES.index(name)]
    computed = [torch_preprocessing.prepared(name, path)[PATCH, PATCH] for path in photographs]
    np.testing.assert_allclose(computed, stored, rtol=0, atol=1e-6)
