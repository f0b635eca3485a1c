"""Whether the stored results of layers and of convolutional classifiers are PyTorch's."""

import numpy as np
import pytest

from tests.reference.heat_map_cases import HEAT_MAPS
from tests.reference.stored import FOLDER

torch = pytest.importorskip("torch")
make_captioners = pytest.importorskip("tests.reference.make_captioners")
make_language_models = pytest.importorskip("tests.reference.make_language_models")
make_layers = pytest.importorskip("tests.reference.make_layers")
make_recurrent = pytest.importorskip("tests.reference.make_recurrent")
make_seq2seq = pytest.importorskip("tests.reference.make_seq2seq")
make_transformer = pytest.importorskip("tests.reference.make_transformer")
make_videos = pytest.importorskip("tests.reference.make_videos")
make_heat_maps = pytest.importorskip("tests.reference.make_heat_maps")

pytestmark = pytest.mark.reference


def assert_same(computed, stored):
    assert set(computed) == set(stored)
    for name, array in computed.items():
        np.testing.assert_allclose(array, stored[name], rtol=1e-10, atol=1e-10 * np.abs(stored[name]).max())


def test_layers():
    assert_same(make_layers.arrays(), np.load(FOLDER / "layers.npz"))


def test_recurrent_layers():
    assert_same(make_recurrent.arrays(), np.load(FOLDER / "recurrent.npz"))


def test_language_models():
    assert_same(make_language_models.arrays(), np.load(FOLDER / "language_models.npz"))


def test_translators():
    assert_same(make_seq2seq.arrays(), np.load(FOLDER / "seq2seq.npz"))


def test_captioners():
    assert_same(make_captioners.arrays(), np.load(FOLDER / "captioners.npz"))


def test_classifiers_of_videos():
    assert_same(make_videos.arrays(), np.load(FOLDER / "videos.npz"))


def test_heat_maps():
    assert_same({case: make_heat_maps.heat_map(case) for case in HEAT_MAPS}, np.load(FOLDER / "heat_maps.npz"))


def test_parts_of_transformers():
    assert_same(make_transformer.arrays(), np.load(FOLDER / "transformer.npz"))
