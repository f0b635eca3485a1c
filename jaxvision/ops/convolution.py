"""The convolution every model runs, lowered for each platform as measured to be fastest there.

Shapes: B batch, H height, W width, C input channels, O output channels, h and w of the kernel.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pairs = Sequence[tuple[int, int]]


def conv_general_dilated(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any, **options) -> jax.Array:
    """Convolves as `jax.lax.conv_general_dilated` does; on a CPU some convolutions become matrix products.

    XLA's convolutions for the CPU are slow where there is little to slide over: 1x1 kernels (2 times slower than a
    product), maps smaller than the kernel (20 to 90 times) and few channels (their weight gradient, 1.5 to 4 times).
    Takes and returns what the function of that name in `jax.lax` does, and can stand for it in `flax.linen.Conv`.
    """
    plain = lambda x, kernel: lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if not (_is_simple(x, kernel, padding, options) and _is_product_faster(x, kernel, padding)):
        return plain(x, kernel)
    types = {name: options.get(name) for name in ("precision", "preferred_element_type")}
    product = lambda x, kernel: _product_of_patches(x, kernel, strides, padding, **types)
    return lax.platform_dependent(x, kernel, cpu=product, default=plain)


def _is_simple(x: jax.Array, kernel: jax.Array, padding: Any, options: dict[str, Any]) -> bool:
    """A 2-D convolution, channels last, without groups and dilation, its padding in numbers."""
    dilation = [*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ())]
    groups = options.get("feature_group_count", 1), options.get("batch_group_count", 1)
    if kernel.ndim != 4 or isinstance(padding, str) or not {*dilation, *groups} <= {1}:
        return False
    layouts = [options.get("dimension_numbers"), ("NHWC", "HWIO", "NHWC")]
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
