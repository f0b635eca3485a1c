"""The convolution every model runs, lowered for each platform as measured to be fastest there.

Shapes: B batch, H height, W width, C input channels, O output channels, h and w of the kernel.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")

Pairs = Sequence[tuple[int, int]]


def conv_general_dilated(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any, **options) -> jax.Array:
    """Convolves as `jax.lax.conv_general_dilated` does; on a CPU some become matrix products or other convolutions.

    XLA's convolutions for the CPU are slow where there is little to slide over: 1x1 kernels (2 times slower than a
    product), maps smaller than the kernel (20 to 90 times) and few channels (their weight gradient, 1.5 to 4 times).
    The weight gradient of a convolution in groups takes seconds: several groups at once, with zeros in the kernel from
    each to the others, make a block of ResNeXt-50 35 to 45 times faster forward and backward. Depthwise convolutions
    stay as they are. Takes and returns what the function of that name in `jax.lax` does, and can stand for it in
    `flax.linen.Conv`.
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
    rows, columns = (
        (length - side) // stride + 1 for length, side, stride in zip(padded.shape[1:3], (h, w), strides, strict=True)
    )
    ends = lambda start, count, stride: start + (count - 1) * stride + 1
    shifted = [
        padded[:, i : ends(i, rows, strides[0]) : strides[0], j : ends(j, columns, strides[1]) : strides[1]]
        for i in range(h)
        for j in range(w)
    ]
    return jnp.matmul(jnp.concatenate(shifted, -1), kernel.reshape(h * w * channels, features), **types)


def _several_groups_at_once(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, groups: int, **types: Any
) -> jax.Array:
    """Convolves a few times without groups, each time with a kernel that is zero from each group to the others."""
    parts = _num_convolutions(groups, x.shape[-1])
    together, group_size, features = groups // parts, kernel.shape[2], kernel.shape[3] // groups
    inputs, outputs = (np.arange(together).repeat(size) for size in (group_size, features))
    mask = np.tile(inputs[:, None] == outputs, parts)  # [C/parts, O]
    dense = jnp.where(mask, jnp.tile(kernel, (1, 1, together, 1)), 0)
    convolved = [
        _without_groups(channels, weights, strides, padding, **types)
        for channels, weights in zip(jnp.split(x, parts, -1), jnp.split(dense, parts, -1), strict=True)
    ]
    return jnp.concatenate(convolved, -1)


def _without_groups(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, **types: Any) -> jax.Array:
    if _is_product_faster(x, kernel, padding):
        return _product_of_patches(x, kernel, strides, padding, **types)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT, **types)


def _num_convolutions(groups: int, channels: int) -> int:
    """As many as 8, which take long enough to compile, of 32 channels and more, with equal numbers of groups."""
    return max(n for n in range(1, 9) if groups % n == 0 and (n == 1 or channels // n >= 32))
