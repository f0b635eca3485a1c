"""Local response normalisation.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section 3.3,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks.
"""

import jax
import jax.numpy as jnp


def local_response_norm(
    x: jax.Array, *, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:  # [..., C] -> [..., C]
    """Divides each channel by (k + alpha * the sum of squares of it and its neighbours) ** beta.

    The paper's formula and constants. `torch.nn.LocalResponseNorm` and Caffe divide `alpha` by `size`: theirs is the
    same for `size` times the alpha. Sums are in float32 or wider.

    Args:
        x: the activations.
        size: channels summed over, the channel itself in their middle, of an even number after it; fewer at the ends.
        k, alpha, beta: as above.

    Raises:
        ValueError: the size is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be 1 or more, got {size}")
    channels, wide = x.shape[-1], x.astype(jnp.promote_types(x.dtype, jnp.float32))
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(wide), padding)
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (wide * (k + alpha * total) ** -beta).astype(x.dtype)
