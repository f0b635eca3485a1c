"""The convolution every model runs, lowered for each platform as measured to be fastest there.

Shapes: B batch, H height, W width, C input channels, O output channels, h and w of the kernel.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

LAYOUT = ("NHWC", "HWIO", "NHWC")
MOST_TAPS = 64  # of a kernel whose taps are written out one by one
MOST_ROWS = 16  # that are added up in one expression

Pairs = Sequence[tuple[int, int]]


def conv_general_dilated(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any, **options) -> jax.Array:
    """Convolves as `jax.lax.conv_general_dilated` does; on a CPU some become matrix products or other convolutions.

    XLA's convolutions for the CPU are slow where there is little to slide over: 1x1 kernels (2 times slower than a
    product), maps smaller than the kernel (20 to 90 times) and few channels (their weight gradient, 1.5 to 4 times).
    The weight gradient of a convolution in groups takes seconds: several groups at once, with zeros in the kernel from
    each to the others, make a block of ResNeXt-50 35 to 45 times faster forward and backward. Depthwise convolutions
    become sums of shifted images: 4 to 60 times faster, their gradients 2 to 400 times, for 3x3 to 7x7 kernels and maps
    of 7 to 112 pixels. Takes and returns what the function of that name in `jax.lax` does, and can stand for it in
    `flax.linen.Conv`; but depthwise convolutions have no derivative in forward mode (`jax.jvp`).
    """
    plain = lambda x, kernel: lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if not _is_simple(x, kernel, padding, options):
        return plain(x, kernel)
    types = {name: options.get(name) for name in ("precision", "preferred_element_type")}
    groups, group_size = options.get("feature_group_count", 1), kernel.shape[2]
    if groups == 1 and _is_product_faster(x, kernel, padding):
        on_cpu = lambda x, kernel: _product_of_patches(x, kernel, strides, padding, **types)
    elif groups > 1 and group_size > 1:
        on_cpu = lambda x, kernel: _several_groups_at_once(x, kernel, strides, padding, groups, **types)
    elif groups > 1 and groups == kernel.shape[3] and kernel.shape[0] * kernel.shape[1] <= MOST_TAPS:
        on_cpu = lambda x, kernel: _depthwise(x, kernel, strides, padding, types["preferred_element_type"])
    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=plain)


def _is_simple(x: jax.Array, kernel: jax.Array, padding: Any, options: dict[str, Any]) -> bool:
    """A 2-D convolution, channels last, without dilation, its padding in numbers."""
    dilation = [*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ())]
    if kernel.ndim != 4 or isinstance(padding, str) or not {*dilation, options.get("batch_group_count", 1)} <= {1}:
        return False
    layouts = [options.get("dimension_numbers"), LAYOUT]
    given, ours = (lax.conv_dimension_numbers(x.shape, kernel.shape, layout) for layout in layouts)
    return given == ours


def _is_product_faster(x: jax.Array, kernel: jax.Array, padding: Pairs) -> bool:
    (h, w, channels, features), size = kernel.shape, x.shape[1:3]
    if (h, w) == (1, 1):
        return not any(map(any, padding))
    covered = [sum(pad) + length == side for length, side, pad in zip(size, (h, w), padding, strict=True)]
    return size[0] < h or size[1] < w or all(covered) or (channels <= 8 and features <= 32)


def _product_of_patches(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, **types: Any
) -> jax.Array:
    """Multiplies the patches under the kernel, [B, H', W', h w C], with the kernel as a matrix."""
    h, w, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else x
    patches = jnp.concatenate(_shifted(padded, (h, w), strides), -1)
    return jnp.matmul(patches, kernel.reshape(h * w * channels, features), **types)


def _shifted(padded: jax.Array, size: tuple[int, int], strides: Sequence[int]) -> list[jax.Array]:
    """Returns what each tap of a kernel of that size sees, h w times [B, H', W', C]."""
    rows, columns = (
        (length - side) // stride + 1 for length, side, stride in zip(padded.shape[1:3], size, strides, strict=True)
    )
    ends = lambda start, count, stride: start + (count - 1) * stride + 1
    return [
        padded[:, i : ends(i, rows, strides[0]) : strides[0], j : ends(j, columns, strides[1]) : strides[1]]
        for i in range(size[0])
        for j in range(size[1])
    ]


def _several_groups_at_once(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, groups: int, **types: Any
) -> jax.Array:
    """Convolves a few times without groups, each time with a kernel that is zero from each group to the others."""
    ends, features = np.arange(0, groups, _groups_together(groups, x.shape[-1]))[1:], kernel.shape[3] // groups
    inputs, kernels = jnp.split(x, ends * kernel.shape[2], -1), jnp.split(kernel, ends * features, -1)
    convolved = [
        _without_groups(channels, _dense(part, part.shape[-1] // features), strides, padding, **types)
        for channels, part in zip(inputs, kernels, strict=True)
    ]
    return jnp.concatenate(convolved, -1)


def _dense(kernel: jax.Array, groups: int) -> jax.Array:  # [h, w, C / groups, O] -> [h, w, C, O]
    """Puts zeros from each group to the others."""
    inputs, outputs = (np.arange(groups).repeat(size) for size in (kernel.shape[2], kernel.shape[3] // groups))
    return jnp.where(inputs[:, None] == outputs, jnp.tile(kernel, (1, 1, groups, 1)), 0)


def _without_groups(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, **types: Any) -> jax.Array:
    if _is_product_faster(x, kernel, padding):
        return _product_of_patches(x, kernel, strides, padding, **types)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT, **types)


def _groups_together(groups: int, channels: int) -> int:
    """So many that there are 8 convolutions at most, which take long enough to compile, of 32 channels or more."""
    return -(-groups // min(8, groups, max(1, channels // 32)))


def _depthwise(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, dtype: DTypeLike | None
) -> jax.Array:
    """Convolves each channel with its own [h, w] of the kernel [h, w, 1, C]."""
    convolved = _sum_of_shifted(x, kernel[:, :, 0], tuple(strides), tuple(map(tuple, padding)))
    return convolved.astype(dtype or x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _sum_of_shifted(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs) -> jax.Array:
    """Returns the sum of the shifted images, each times its tap of the kernel [h, w, C], in float32 or wider."""
    return _weighted(_pad(x, [(low, high, 0) for low, high in padding]), kernel, strides)


def _sum_of_shifted_forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs):
    return _sum_of_shifted(x, kernel, strides, padding), (x, kernel)


def _sum_of_shifted_backward(strides: tuple[int, ...], padding: Pairs, saved, cotangent: jax.Array):
    x, kernel = saved
    of_x = _gradient_of_image(cotangent, kernel, x.shape[1:3], strides, padding)
    of_kernel = _gradient_of_kernel(cotangent, x, kernel.shape[:2], strides, padding)
    return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)


_sum_of_shifted.defvjp(_sum_of_shifted_forward, _sum_of_shifted_backward)


def _gradient_of_image(
    cotangent: jax.Array, kernel: jax.Array, size: Sequence[int], strides: Sequence[int], padding: Pairs
) -> jax.Array:  # [B, H', W', C] -> [B, H, W, C]
    """Convolves the cotangent, its pixels drawn apart by the strides, with the kernel turned round."""
    pads = []
    for length, taps, count, stride, (low, _) in zip(
        size, kernel.shape, cotangent.shape[1:], strides, padding, strict=False
    ):
        before = taps - 1 - low
        pads.append((before, length + taps - 2 - before - (count - 1) * stride, stride - 1))
    return _weighted(_pad(cotangent, pads), kernel[::-1, ::-1], (1, 1))


def _gradient_of_kernel(
    cotangent: jax.Array, x: jax.Array, size: tuple[int, int], strides: Sequence[int], padding: Pairs
) -> jax.Array:  # [B, H', W', C], [B, H, W, C] -> [h, w, C]
    """Returns the sum over all pixels of the cotangent times what each tap of the kernel saw.

    A sum over all axes but the last is slow in XLA on a CPU: first whole rows are added to each other, then a product
    with ones does the rest. It is a loop over the taps, so that there is the same to compile for any kernel.
    """
    (batch, rows, columns, channels), (down, right) = cotangent.shape, strides
    parts = -(-rows // MOST_ROWS)
    together = -(-rows // parts)
    cotangent = _pad(cotangent, [(0, parts * together - rows, 0), (0, 0, 0)])
    spans = [(count - 1) * stride + 1 for count, stride in ((parts * together, down), (columns, right))]
    padded = _pad(
        x,
        [
            (low, span + side - 1 - low - length, 0)
            for (low, _), span, side, length in zip(padding, spans, size, x.shape[1:3], strict=True)
        ],
    )

    def of_tap(tap: jax.Array) -> jax.Array:  # -> [C]
        i, j = tap // size[1], tap % size[1]

        def of_row(row: int) -> jax.Array:  # every `together`-th row from this one on: [B, parts, W', C]
            shape = (batch, spans[0] - (together - 1) * down, spans[1], channels)
            seen = lax.dynamic_slice(padded, (0, i + row * down, j, 0), shape)[:, :: together * down, ::right]
            return _wide(seen) * cotangent[:, row::together]

        added = sum(map(of_row, range(together))).reshape(-1, channels)
        return jnp.ones(len(added), added.dtype) @ added

    return lax.map(of_tap, jnp.arange(size[0] * size[1])).reshape(*size, channels)


def _weighted(padded: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    taps = _wide(kernel).reshape(-1, kernel.shape[-1])
    seen = _shifted(padded, kernel.shape[:2], strides)
    return sum(_wide(image) * tap for image, tap in zip(seen, taps, strict=True))


def _pad(x: jax.Array, pads: Sequence[tuple[int, int, int]]) -> jax.Array:
    """Pads height and width with zeros before, after and between the pixels."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
