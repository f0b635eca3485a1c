"""Pooling and response normalisation against their definitions, written out in loops, and against PyTorch."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.ops.pooling import average_windows, max_pool, max_pool_ceil, pool_to_size

MAP = np.random.RandomState(0).randn(2, 7, 6, 9).astype(np.float32)


def pooled(x, rows, columns, reduce):
    """Reduces over each pair of a range of rows and one of columns."""
    return np.stack([np.stack([reduce(x[:, r, c], (1, 2)) for c in columns], 1) for r in rows], 1)


@pytest.mark.parametrize(
    ("height", "width", "window", "stride"), [(7, 6, 3, 2), (7, 4, 2, 2), (2, 5, 3, 2), (1, 1, 2, 2)]
)
def test_the_last_maximum_is_over_what_there_is(height, width, window, stride):
    x = MAP[:, :height, :width]
    rows, columns = (
        [slice(i, i + window) for i in range(0, length, stride) if i == 0 or i + window - stride < length]
        for length in (height, width)
    )
    np.testing.assert_array_equal(max_pool_ceil(jnp.asarray(x), window, stride), pooled(x, rows, columns, np.max))


def test_maxima_of_too_small_a_map():
    with pytest.raises(ValueError, match=r"3x3 windows, stride 2, needs 2 pixels .* got 1x6: the images are too small"):
        max_pool_ceil(jnp.asarray(MAP[:, :1]), 3, 2)


@pytest.mark.parametrize(("height", "width"), [(7, 6), (4, 1), (3, 5)])
@pytest.mark.parametrize(("size", "window", "stride"), [(4, 1, 1), (4, 5, 3), (5, 5, 3)])
def test_windows_lie_in_proportion(height, width, size, window, stride):
    """Each bound is a fraction of the map, rounded outwards."""
    x, whole = MAP[:, :height, :width], (size - 1) * stride + window
    rows, columns = (
        [
            slice(math.floor(i * stride / whole * n + 1e-9), math.ceil((i * stride + window) / whole * n - 1e-9))
            for i in range(size)
        ]
        for n in (height, width)
    )
    np.testing.assert_allclose(pool_to_size(x, size, window, stride), pooled(x, rows, columns, np.mean), atol=1e-6)


def test_windows_that_fill_a_map_are_those_of_average_pooling():
    x = np.random.RandomState(1).randn(2, 17, 17, 3).astype(np.float32)
    rows = [slice(3 * i, 3 * i + 5) for i in range(5)]
    for result in (pool_to_size(x, 5, 5, 3), average_windows(x, 5, 3)):
        np.testing.assert_allclose(result, pooled(x, rows, rows, np.mean), atol=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (3, 1), (4, 3)])  # all but the first overlap
def test_maxima_and_means_are_scipys(window, stride):
    first = window // 2  # the place at which SciPy has the first window that lies inside
    inside = (slice(None), *(slice(first, first + length - window + 1, stride) for length in MAP.shape[1:3]))
    size = (1, window, window, 1)
    found = max_pool(MAP, (window, window), (stride, stride)), average_windows(MAP, window, stride)
    np.testing.assert_array_equal(found[0], ndimage.maximum_filter(MAP, size)[inside])
    np.testing.assert_allclose(found[1], ndimage.uniform_filter(MAP.astype(np.float64), size)[inside], atol=1e-6)


def test_padding_counts_as_zeros():
    padded = np.pad(MAP, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = ([slice(i, i + 3) for i in range(length)] for length in (7, 6))
    np.testing.assert_allclose(average_windows(MAP, 3, padding=1), pooled(padded, rows, columns, np.mean), atol=1e-6)


def test_half_precision_is_summed_in_single():
    x = jnp.full((1, 32, 32, 1), 1.0, jnp.bfloat16)
    for result in (pool_to_size(x, 1), average_windows(x, 32)):
        assert result.dtype == jnp.bfloat16
        assert (result == 1).all()


@pytest.mark.reference
def test_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs = torch.from_numpy(MAP).permute(0, 3, 1, 2)
    same = lambda ours, other: np.testing.assert_allclose(ours, other.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-6)
    for window, stride in ((3, 2), (2, 2)):
        same(
            max_pool_ceil(jnp.asarray(MAP), window, stride),
            functional.max_pool2d(theirs, window, stride, ceil_mode=True),
        )
    for size in (1, 4, 7, 9):
        same(pool_to_size(MAP, size), functional.adaptive_avg_pool2d(theirs, size))
    same(average_windows(MAP, 3, 2, 1), functional.avg_pool2d(theirs, 3, 2, 1))
