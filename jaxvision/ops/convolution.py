"""The convolution every model runs, lowered for each platform as measured to be fastest there.

Shapes: B batch, H height, W width, C input channels, O output channels.
"""

import jax
from jax import lax


def conv_general_dilated(x: jax.Array, kernel: jax.Array, strides, padding, **options) -> jax.Array:
    """Convolves as `jax.lax.conv_general_dilated` does, 1x1 convolutions on a CPU as matrix products.

    Takes and returns what the function of that name in `jax.lax` does, so that it can stand for it in `flax.linen.Conv`.
    """
    plain = lambda x, kernel: lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if not _is_pointwise(kernel, padding, options):
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=lambda x, kernel: _pointwise(x, kernel, strides), default=plain)


def _is_pointwise(kernel: jax.Array, padding, options: dict) -> bool:
    unpadded = not isinstance(padding, str) and all(tuple(pad) == (0, 0) for pad in padding)
    return kernel.ndim == 4 and kernel.shape[:2] == (1, 1) and unpadded and options.get("feature_group_count", 1) == 1


def _pointwise(x: jax.Array, kernel: jax.Array, strides) -> jax.Array:  # [B, H, W, C] -> [B, H/s, W/s, O]
    return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
