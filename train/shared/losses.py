"""Losses, one number for each example.

Shapes: B batch, K classes.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, K], labels [B] or probabilities [B, K] -> [B]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What a classifier is trained to lower."""

    loss: Literal["cross-entropy", "binary", "focal"] = "cross-entropy"
    """cross-entropy of the softmax; binary: of a sigmoid for each class, summed; focal: cross-entropy of which examples
    that are classified well count less."""
    label_smoothing: float = 0.05
    """Share of the target probability spread over all classes."""
    focal_gamma: float = 2.0
    """focal: how much less; 0 is cross-entropy."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--label-smoothing must be from 0 to below 1, got {self.label_smoothing}")
        if not math.isfinite(self.focal_gamma):
            raise ValueError(f"--focal-gamma must be finite, got {self.focal_gamma}")
        if self.focal_gamma < 0:
            raise ValueError(f"--focal-gamma must be 0 or more, got {self.focal_gamma}")


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """A trained model whose answers are learnt beside the labels: of a network with two heads (DeiT) by the second."""

    teacher: Path | None = None
    """Directory of the complete run of the teacher, which knows the same classes; None for none."""
    temperature: float = 4.0
    """What the logits of both are divided by; 0 to learn the teacher's likeliest class as if it were the label."""
    teacher_share: float = 0.9
    """Share of the loss that is the distance from the teacher; the rest is that from the labels."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if not math.isfinite(self.temperature):
            raise ValueError(f"--temperature must be finite, got {self.temperature}")
        if self.temperature < 0:
            raise ValueError(f"--temperature must be 0 or more, got {self.temperature}")
        if not 0 <= self.teacher_share <= 1:
            raise ValueError(f"--teacher-share must be from 0 to 1, got {self.teacher_share}")


def make_loss(config: LossConfig) -> Loss:
    """Returns the loss of a config, of logits and labels or probabilities."""
    loss = {"cross-entropy": cross_entropy, "binary": binary_cross_entropy, "focal": focal}[config.loss]
    options = {"gamma": config.focal_gamma} if config.loss == "focal" else {}
    return lambda logits, labels: loss(logits, labels, smoothing=config.label_smoothing, **options)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:  # [B, K] -> [B]
    """Returns the cross-entropy of each example, in float32.

    Args:
        logits: [B, K].
        labels: int [B], or probabilities [B, K].
        smoothing: share of the probability spread evenly over the classes, https://arxiv.org/abs/1512.00567.
    """
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), _targets(logits, labels, smoothing))


def binary_cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:  # [B, K] -> [B]
    """Returns the sum over the classes of the cross-entropy of a sigmoid: each class is a question of its own.

    Takes what `cross_entropy` takes. https://arxiv.org/abs/2110.00476, section 3.1.
    """
    targets = _targets(logits, labels, smoothing)
    return optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets).sum(-1)


def focal(
    logits: jax.Array, labels: jax.Array, smoothing: float = 0.0, gamma: float = 2.0
) -> jax.Array:  # [B, K] -> [B]
    """Returns the cross-entropy, each class weighted by `(1 - p)^gamma` of its probability p.

    Takes what `cross_entropy` takes. Lin et al. 2017, https://arxiv.org/abs/1708.02002, of a softmax.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    missing = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(jnp.float32).tiny)  # 1 - p, of which a power has a derivative
    return -(_targets(logits, labels, smoothing) * missing**gamma * log_p).sum(-1)


def distillation(
    logits: jax.Array, teacher_logits: jax.Array, temperature: float = 1.0
) -> jax.Array:  # twice [B, K] -> [B]
    """Returns the divergence of a model's probabilities from a teacher's, both softened, times the temperature squared.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531: the square keeps the size of the gradient.

    Args:
        logits: [B, K].
        teacher_logits: [B, K]; no gradient goes through them.
        temperature: what both are divided by. 0 gives the cross-entropy of the teacher's likeliest class, the hard
            distillation of DeiT, https://arxiv.org/abs/2012.12877, equation 3.
    """
    if temperature == 0:
        return cross_entropy(logits, teacher_logits.argmax(-1))
    soft = lambda x: jax.nn.log_softmax(x.astype(jnp.float32) / temperature)
    teacher = soft(jax.lax.stop_gradient(teacher_logits))
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(soft(logits), teacher)


def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:  # [...] -> [...]
    """Returns the squared difference of a sigmoid from labels 0 and 1: what logistic regression had better not lower.

    It is not convex in the logits, and its gradient vanishes where the answer is most wrong (`train.loss_curves`).
    """
    return optax.squared_error(jax.nn.sigmoid(logits.astype(jnp.float32)), labels)


def _targets(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:  # -> [B, K]
    probabilities = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
    return optax.smooth_labels(probabilities, smoothing)


def token_scores(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:  # [B, T, V], [B, T] -> [B, T]
    """Returns the loss in nats, and 1 where the likeliest token is the right one, in float32."""
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return losses, (logits.argmax(-1) == targets).astype(jnp.float32)
