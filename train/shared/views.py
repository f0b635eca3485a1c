"""Test-time augmentation: the mean of a classifier's probabilities over views of the same image.

Shapes: B batch, H height, W width, C channels, K classes, V views.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

WAYS = ("up, left", "up, right", "down, left", "down, right")


@dataclasses.dataclass(frozen=True)
class Views:
    """Which views, beside the image as it is: the ten of https://papers.nips.cc/paper/4824 where both are asked for.

    Attributes:
        mirror: the mirror image, of each shifted crop too.
        shift: pixels by which four crops are moved along the diagonals; 0 for none. Beyond the edge of the image lies
            its reflection.
    """

    mirror: bool = False
    shift: int = 0

    @property
    def names(self) -> list[str]:
        """What the views are called, in their order."""
        moved = ["as it is"] + [f"shifted {way}" for way in WAYS] * (self.shift > 0)
        return moved + ["mirror image", *(f"mirror image, {name}" for name in moved[1:])] * self.mirror

    def __call__(self, images: jax.Array) -> list[jax.Array]:  # [B, H, W, C] -> V x [B, H, W, C]
        """Returns the views of images.

        Raises:
            ValueError: the shift is as large as the image.
        """
        moved = [images]
        if self.shift:
            moved += [_moved(images, self.shift, down, right) for down in (0, 2) for right in (0, 2)]
        return moved + [view[:, :, ::-1] for view in moved] * self.mirror


def _moved(images: jax.Array, shift: int, down: int, right: int) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C]
    _, height, width, _ = images.shape
    if shift >= min(height, width):
        raise ValueError(f"--shift {shift} is too far for images of {height}x{width} pixels")
    padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), "reflect")
    return padded[:, down * shift :, right * shift :][:, :height, :width]


def over_views(predict: Callable[[Any, jax.Array], jax.Array], views: Views) -> Callable[[Any, jax.Array], jax.Array]:
    """Returns `(variables, images) -> logits [B, K]` whose softmax is the mean of that of `predict` over the views."""

    def mean(variables: Any, images: jax.Array) -> jax.Array:
        logits = jnp.stack([predict(variables, view) for view in views(images)]).astype(jnp.float32)  # [V, B, K]
        return jax.nn.logsumexp(jax.nn.log_softmax(logits), 0) - jnp.log(len(logits))

    return mean
