"""The weights of resizing, against Pillow; and that rows gathered and matrices multiplied give the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision.augment import crops
from jaxvision.ops.resample import RADIUS, resampling_matrix, resampling_taps

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
STRETCHES = np.array([(0, 29), (4, 20), (3, 9), (28, 1), (5, 11)])  # start, length


@pytest.mark.parametrize("method", RADIUS)
@pytest.mark.parametrize("out_size", [11, 25])
def test_antialiased_weights_are_pillows(method, out_size):
    """Found by resizing each unit vector, in floating point."""

    @jax.jit
    def matrices_of(start, length):
        return resampling_matrix(*resampling_taps(29, start, length, out_size, method=method), 29)

    matrices = np.asarray(matrices_of(*STRETCHES.T))
    np.testing.assert_allclose(matrices.sum(-1), 1, atol=1e-6)
    for (start, length), matrix in zip(STRETCHES, matrices, strict=True):
        units = np.eye(29, dtype=np.float32)[start : start + length]
        columns = [np.asarray(Image.fromarray(unit[:, None]).resize((1, out_size), PILLOW[method])) for unit in units.T]
        np.testing.assert_allclose(matrix, np.concatenate(columns, 1), atol=2e-6)


@pytest.mark.parametrize("method", RADIUS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("size", "out_size"), [((19, 14), (8, 21)), ((16, 16), (16, 16))])
def test_gathered_rows_are_the_product_of_matrices(method, antialias, size, out_size):
    images = jnp.asarray(np.random.RandomState(0).rand(3, *size, 2), jnp.float32)
    boxes = jnp.array([[0, 0, *size], [3, 2, 7, 5], [size[0] - 1, 0, 1, size[1]]])

    @jax.jit
    def both_ways(images, boxes):
        taps = [
            resampling_taps(side, boxes[:, axis], boxes[:, 2 + axis], out, method=method, antialias=antialias)
            for axis, (side, out) in enumerate(zip(size, out_size, strict=True))
        ]
        return crops._gather(images, *taps), crops._multiply(images, *taps)

    gathered, multiplied = both_ways(images, boxes)
    assert gathered.shape == (3, *out_size, 2)
    np.testing.assert_allclose(gathered, multiplied, atol=2e-6)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="method must be one of bilinear, bicubic, got 'lanczos'"):
        resampling_taps(4, jnp.zeros(1), jnp.ones(1), 2, method="lanczos")
