"""torchvision itself: whether the stored results are its, and ours on other images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import augment
from tests.reference import augmentation_cases as cases
from tests.test_augment import BYTES, EXACT, KERNELS

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
made = pytest.importorskip("tests.reference.make_augmentations")

pytestmark = pytest.mark.reference

STORED = np.load(cases.FILE)


def test_stored_results():
    computed = {**made.results(STORED["images"]), **made.tables(), **made.draws(), **made.mixed(STORED["images"])}
    assert {*computed, "images"} == {*STORED}
    for name, value in computed.items():
        assert np.abs(value.astype(float) - STORED[name]).max() <= 1e-6, name


@pytest.fixture(scope="module")
def noise():
    return np.random.RandomState(5).randint(0, 256, (2, *cases.SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", cases.CASES)
def test_kernels_on_noise(name, noise):
    parameters = cases.CASES[name]
    expected = made.results(noise)[name]
    expected = expected / 255 if expected.dtype == np.uint8 else expected
    found = KERNELS[name](jnp.asarray(noise / 255, jnp.float32), jnp.array([p or 0 for p in parameters]))
    assert np.abs(found - expected).max() <= EXACT


def test_operations_on_noise(noise):
    images = jnp.asarray(noise / 255, jnp.float32)
    results, apply = made.results(noise), jax.jit(augment.apply_operations)
    for kind, (name, magnitude) in enumerate(cases.OPERATIONS):
        found = apply(images, jnp.full(2, kind), jnp.array(magnitude))
        assert np.abs(found - results[f"{name} nearest"] / 255).max() <= BYTES, name
