"""Filters that were known before networks learnt their own, and the operation that applies them.

Kernels are NumPy arrays in float32. Edge filters come as the derivative along an axis: 0 finds horizontal edges, 1
vertical ones. Shapes: H height, W width, C channels, h and w of a kernel, N filters.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Padding = Literal["valid", "same"]


def vertical_edges() -> np.ndarray:  # [3, 3]
    """Returns the filter of a first course: brighter on the left than on the right."""
    return np.tile(np.float32([1, 0, -1]), (3, 1))


def horizontal_edges() -> np.ndarray:  # [3, 3]
    """Returns the filter of a first course: brighter above than below."""
    return vertical_edges().T


def prewitt(axis: int) -> np.ndarray:  # [3, 3]
    """Returns the central difference along an axis, summed across it."""
    return _derivative([1, 1, 1], axis)


def sobel(axis: int) -> np.ndarray:  # [3, 3]
    """Returns the central difference along an axis, smoothed across it by 1, 2, 1."""
    return _derivative([1, 2, 1], axis)


def scharr(axis: int) -> np.ndarray:  # [3, 3]
    """Returns the central difference along an axis, smoothed across it by 3, 10, 3: it errs least in the angle."""
    return _derivative([3, 10, 3], axis)


def laplacian(diagonals: bool = False) -> np.ndarray:  # [3, 3]
    """Returns the sum of the second differences along both axes, and along both diagonals if they are asked for."""
    kernel = np.float32([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    return kernel + np.float32([[1, 0, 1], [0, -4, 0], [1, 0, 1]]) if diagonals else kernel


def gaussian(size: int, sigma: float) -> np.ndarray:  # [size, size]
    """Returns a Gaussian of sum 1.

    Args:
        size: of the kernel, in pixels; 6 sigma and more cut off less than 0.3 %.
        sigma: standard deviation, in pixels.

    Raises:
        ValueError: the size or the deviation is not positive.
    """
    _check_positive(size=size, sigma=sigma)
    places = _places(size)
    line = np.exp(-(places**2) / (2 * sigma**2))
    kernel = np.outer(line, line)
    return np.float32(kernel / kernel.sum())


def gabor(
    size: int, *, wavelength: float, orientation: float = 0.0, sigma: float, aspect: float = 1.0, phase: float = 0.0
) -> np.ndarray:  # [size, size]
    """Returns a wave under a Gaussian, as the first layers of networks, and the eye, have them.

    Daugman 1985, "Uncertainty relation for resolution in space, spatial frequency, and orientation".

    Args:
        size: of the kernel, in pixels.
        wavelength: of the cosine, in pixels.
        orientation: direction in which the wave goes, in radians from the columns' axis (0: to the right) towards the
            rows' axis (pi/2: down).
        sigma: standard deviation of the Gaussian along the wave, in pixels.
        aspect: sigma over the standard deviation across the wave.
        phase: of the cosine at the centre, in radians.

    Raises:
        ValueError: a size, wavelength, deviation or aspect that is not positive, or an angle that is not finite.
    """
    _check_positive(size=size, wavelength=wavelength, sigma=sigma, aspect=aspect)
    for name, angle in (("orientation", orientation), ("phase", phase)):
        if not np.isfinite(angle):
            raise ValueError(f"{name} must be finite, got {angle}")
    rows, columns = np.meshgrid(_places(size), _places(size), indexing="ij")
    along = columns * np.cos(orientation) + rows * np.sin(orientation)
    across = -columns * np.sin(orientation) + rows * np.cos(orientation)
    envelope = np.exp(-(along**2 + (aspect * across) ** 2) / (2 * sigma**2))
    return np.float32(envelope * np.cos(2 * np.pi * along / wavelength + phase))


def correlate(signal: jax.Array, kernel: jax.Array, *, padding: Padding = "valid", stride: int = 1) -> jax.Array:
    """Slides a kernel over a signal and sums the products: cross-correlation, which networks call convolution.

    Args:
        signal: of one axis (a sound), two (an image) or three (a volume).
        kernel: of as many axes.
        padding: "valid" for the places where the kernel lies inside, or "same" for as many places as the signal has:
            zeros all around, the odd one of a kernel of even length behind.
        stride: from one place to the next, along every axis.

    Raises:
        ValueError: the axes do not agree, a valid kernel is longer than the signal, or the stride is less than 1.
    """
    before = [(length - 1) // 2 for length in np.shape(kernel)]
    return _slide(jnp.asarray(signal)[..., None], jnp.asarray(kernel)[..., None, None], padding, stride, before)[..., 0]


def convolve(signal: jax.Array, kernel: jax.Array, *, padding: Padding = "valid", stride: int = 1) -> jax.Array:
    """Convolves as mathematics and `numpy.convolve` do: `correlate` with the kernel turned round along every axis.

    Takes what `correlate` takes; with "same", the odd zero of a kernel of even length is in front.
    """
    before = [length // 2 for length in np.shape(kernel)]
    return _slide(
        jnp.asarray(signal)[..., None], jnp.flip(jnp.asarray(kernel))[..., None, None], padding, stride, before
    )[..., 0]


def correlate_channels(
    image: jax.Array, kernels: jax.Array, *, padding: Padding = "valid", stride: int = 1
) -> jax.Array:  # [H, W, C], [h, w, C, N] -> [H', W', N]
    """Applies filters that see all channels of an image at once: what a convolutional layer does.

    Args:
        image: [H, W, C].
        kernels: [h, w, C, N]; one that sees a single channel has zeros for the others (`on_channel`).
        padding, stride: see `correlate`.

    Raises:
        ValueError: the channels do not agree, a valid kernel is larger than the image, or the stride is less than 1.
    """
    before = [(length - 1) // 2 for length in np.shape(kernels)[:-2]]
    return _slide(image, kernels, padding, stride, before)


def on_channel(kernel: np.ndarray, channel: int, channels: int) -> np.ndarray:  # [h, w] -> [h, w, channels]
    """Returns a kernel that sees one channel alone."""
    return np.asarray(kernel)[..., None] * np.eye(channels, dtype=np.float32)[channel]


def _slide(
    signal: jax.Array, kernels: jax.Array, padding: Padding, stride: int, before: list[int]
) -> jax.Array:  # [*sizes, C], [*lengths, C, N] -> [*places, N]
    signal, kernels = jnp.asarray(signal), jnp.asarray(kernels)
    (*sizes, channels), (*lengths, seen, _) = signal.shape, kernels.shape
    if len(sizes) != len(lengths) or channels != seen or not 1 <= len(sizes) <= 3:
        raise ValueError(
            f"signal and kernel must have the same 1, 2 or 3 axes, and the same channels; got {sizes} and {lengths}, "
            f"{channels} and {seen} channels"
        )
    if stride < 1:
        raise ValueError(f"stride must be 1 or more, got {stride}")
    if padding not in ("valid", "same"):
        raise ValueError(f'padding must be "valid" or "same", got {padding!r}')
    if padding == "valid" and any(length > size for length, size in zip(lengths, sizes, strict=True)):
        raise ValueError(f"a kernel of {lengths} does not lie inside a signal of {sizes}; padding is needed")
    pads = [
        (front, length - 1 - front) if padding == "same" else (0, 0)
        for front, length in zip(before, lengths, strict=True)
    ]
    dtype = jnp.result_type(signal, kernels, jnp.float32)
    space = "DHW"[-len(sizes) :]
    sums = lax.conv_general_dilated(
        signal[None].astype(dtype),
        kernels.astype(dtype),
        (stride,) * len(sizes),
        pads,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        precision=lax.Precision.HIGHEST,
    )
    return sums[0]


def _derivative(smoothing: list[int], axis: int) -> np.ndarray:
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 (rows) or 1 (columns), got {axis}")
    kernel = np.outer([-1, 0, 1], smoothing).astype(np.float32)
    return kernel if axis == 0 else kernel.T


def _places(size: int) -> np.ndarray:
    return np.arange(size) - (size - 1) / 2


def _check_positive(**arguments: float) -> None:
    for name, value in arguments.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
