"""Local response normalisation.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section 3.3.
Shapes: B batch, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:  # [B, ..., C]
    """Divides each value by `(k + alpha * sum of squares) ** beta`, the sum over `size` channels around its own.

    As in the paper, `alpha` is not divided by `size`; PyTorch's and Caffe's functions of that name divide it. The sum
    is of float32 or wider.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    channels, before = x.shape[-1], size // 2
    padded = jnp.pad(jnp.square(wide), [(0, 0)] * (x.ndim - 1) + [(before, size - 1 - before)])
    squares = sum(padded[..., i : i + channels] for i in range(size))
    return (wide * (k + alpha * squares) ** -beta).astype(x.dtype)
