"""Losses, as sums over the examples of a batch.

Shapes: B batch, K classes.
"""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:  # [B, K] -> [B]
    """Returns the cross-entropy of each example, in float32.

    Args:
        logits: [B, K].
        labels: int [B], or probabilities [B, K].
        smoothing: share of the probability spread evenly over the classes, https://arxiv.org/abs/1512.00567.
    """
    probabilities = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
    targets = optax.smooth_labels(probabilities, smoothing)
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), targets)
