"""Filters and sliding them against SciPy, NumPy and the numbers of the classic course."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal

from jaxvision.ops import filters
from jaxvision.ops.arithmetic import multiply_adds, output_size

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(9, 12)).astype(np.float32)


def test_the_edges_of_the_classic_course():
    halves = np.repeat(np.float32([[10, 0]]), 3, axis=1) * np.ones((6, 1), np.float32)
    edges = filters.correlate(halves, filters.vertical_edges())
    np.testing.assert_array_equal(edges, np.tile([0, 30, 30, 0], (4, 1)))
    np.testing.assert_array_equal(filters.correlate(halves.T, filters.horizontal_edges()), np.asarray(edges).T)
    np.testing.assert_array_equal(filters.correlate(halves, filters.horizontal_edges()), np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        (filters.sobel(0), lambda x: ndimage.sobel(x, 0, mode="constant")),
        (filters.sobel(1), lambda x: ndimage.sobel(x, 1, mode="constant")),
        (filters.prewitt(0), lambda x: ndimage.prewitt(x, 0, mode="constant")),
        (filters.prewitt(1), lambda x: ndimage.prewitt(x, 1, mode="constant")),
        (filters.laplacian(), lambda x: ndimage.laplace(x, mode="constant")),
        (filters.gaussian(13, 1.5), lambda x: ndimage.gaussian_filter(x, 1.5, mode="constant", truncate=4)),
        (filters.scharr(0), lambda x: _separately(x, [-1, 0, 1], [3, 10, 3])),
        (filters.scharr(1), lambda x: _separately(x, [3, 10, 3], [-1, 0, 1])),
    ],
)
def test_filters_as_scipy_has_them(kernel, reference):
    ours = filters.correlate(IMAGE, kernel, padding="same")
    np.testing.assert_allclose(ours, reference(IMAGE), rtol=1e-5, atol=1e-5)


def _separately(image, down, across):
    return ndimage.correlate1d(ndimage.correlate1d(image, down, 0, mode="constant"), across, 1, mode="constant")


def test_laplacian_with_diagonals_sums_all_differences():
    full = filters.laplacian(diagonals=True)
    np.testing.assert_array_equal(full, [[1, 1, 1], [1, -8, 1], [1, 1, 1]])


def test_gabor_is_a_wave_in_its_direction():
    kernel = filters.gabor(21, wavelength=6, orientation=0.4, sigma=4, aspect=0.5, phase=0.3)
    assert kernel.shape == (21, 21)
    for row, column in [(10, 10), (3, 17), (12, 5)]:
        x, y = column - 10, row - 10
        along, across = x * np.cos(0.4) + y * np.sin(0.4), y * np.cos(0.4) - x * np.sin(0.4)
        expected = np.exp(-(along**2 + 0.25 * across**2) / 32) * np.cos(2 * np.pi * along / 6 + 0.3)
        np.testing.assert_allclose(kernel[row, column], expected, rtol=1e-6)
    rows, columns = np.mgrid[:64, :64]
    waves = [np.cos(2 * np.pi * (columns * np.cos(a) + rows * np.sin(a)) / 6) for a in (0.0, 0.8, 1.6)]
    answers = [np.abs(filters.correlate(wave, filters.gabor(21, wavelength=6, orientation=0.8, sigma=4))).max()
               for wave in waves]  # fmt: skip
    assert answers[1] > 5 * max(answers[0], answers[2])


@pytest.mark.parametrize("shape", [(11,), (7, 8), (5, 6, 7)])
@pytest.mark.parametrize("length", [2, 3, 4])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolution_is_scipys(shape, length, padding):
    x, kernel = RNG.normal(size=shape), RNG.normal(size=(length,) * len(shape))
    ours = filters.convolve(x, kernel, padding=padding)
    np.testing.assert_allclose(ours, signal.convolve(x, kernel, mode=padding, method="direct"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(11,), (7, 8), (5, 6, 7)])
@pytest.mark.parametrize("length", [2, 3, 5])
def test_correlation_is_scipys(shape, length):
    x, kernel = RNG.normal(size=shape), RNG.normal(size=(length,) * len(shape))
    origin = -1 if length % 2 == 0 else 0  # SciPy has the middle of an even kernel behind, networks in front
    theirs = ndimage.correlate(x, kernel, mode="constant", origin=origin)
    np.testing.assert_allclose(filters.correlate(x, kernel, padding="same"), theirs, rtol=1e-4, atol=1e-5)
    every_other = theirs[tuple(slice(None, None, 2) for _ in shape)]
    strided = filters.correlate(x, kernel, padding="same", stride=2)
    np.testing.assert_allclose(strided, every_other, rtol=1e-4, atol=1e-5)


def test_convolution_is_correlation_turned_round():
    kernel = RNG.normal(size=(3, 3)).astype(np.float32)
    turned = filters.correlate(IMAGE, np.rot90(kernel, 2))
    np.testing.assert_array_equal(filters.convolve(IMAGE, kernel), turned)
    assert np.abs(filters.correlate(IMAGE, kernel) - turned).max() > 0.1


def test_a_volume_with_two_filters():
    image, kernels = RNG.normal(size=(6, 6, 3)), RNG.normal(size=(3, 3, 3, 2))
    maps = filters.correlate_channels(image, kernels)
    assert maps.shape == (4, 4, 2)
    for row, column, number in np.ndindex(maps.shape):
        patch = image[row : row + 3, column : column + 3]
        np.testing.assert_allclose(maps[row, column, number], (patch * kernels[..., number]).sum(), rtol=1e-4)


def test_a_filter_on_one_channel():
    image = RNG.normal(size=(6, 6, 3)).astype(np.float32)
    red = filters.on_channel(filters.vertical_edges(), 0, 3)[..., None]
    maps = filters.correlate_channels(image, red)
    np.testing.assert_allclose(maps[..., 0], filters.correlate(image[..., 0], filters.vertical_edges()), rtol=1e-5)


def test_a_1x1_convolution_mixes_channels_alone():
    image, kernels = jnp.ones((28, 28, 192)), jnp.full((1, 1, 192, 32), 0.5)
    assert filters.correlate_channels(image, kernels).shape == (28, 28, 32)
    assert multiply_adds(filters.correlate_channels, image, kernels) == 28 * 28 * 192 * 32
    np.testing.assert_allclose(filters.correlate_channels(image, kernels), 96)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((6, 3), 4), ((6, 3, 1, 1), 6), ((7, 3, 2), 3), ((39, 3), 37), ((37, 5, 2), 17), ((17, 5, 2), 7),
     ((227, 11, 4), 55), ((55, 3, 2), 27), ((224, 7, 2, 3), 112), ((32, 3, 1, 2, 2), 32)],
)  # fmt: skip
def test_output_sizes_of_the_classics(arguments, expected):
    size, window, stride, padding, dilation = (*arguments, *(1, 0, 1)[len(arguments) - 2 :])
    assert output_size(*arguments) == expected
    spread = (window - 1) * dilation + 1
    assert len(filters.correlate(np.ones(size + 2 * padding), np.ones(spread), stride=stride)) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: output_size(2, 3), "window of 3 pixels at distances of 1 does not fit into 2 pixels padded by 0"),
        (lambda: output_size(5, 3, 0), "stride and dilation must be 1 or more"),
        (lambda: filters.correlate(IMAGE, np.ones(3)), r"same 1, 2 or 3 axes.*\[9, 12\] and \[3\]"),
        (lambda: filters.correlate(np.ones(2), np.ones(3)), "does not lie inside"),
        (lambda: filters.correlate(IMAGE, np.ones((3, 3)), padding="full"), '"valid" or "same"'),
        (lambda: filters.correlate_channels(np.ones((6, 6, 3)), np.ones((3, 3, 1, 2))), "3 and 1 channels"),
        (lambda: filters.sobel(2), "axis must be 0"),
        (lambda: filters.correlate(IMAGE, np.ones((3, 3)), stride=0), "stride must be 1 or more, got 0"),
        (lambda: filters.convolve(IMAGE, np.ones((3, 3)), stride=-1), "stride must be 1 or more, got -1"),
        (lambda: filters.gaussian(0, 1), "size must be positive, got 0"),
        (lambda: filters.gaussian(5, np.nan), "sigma must be positive, got nan"),
        (lambda: filters.gabor(9, wavelength=4, sigma=1, phase=np.nan), "phase must be finite, got nan"),
        (lambda: filters.gabor(9, wavelength=0, sigma=1), "wavelength must be positive"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
