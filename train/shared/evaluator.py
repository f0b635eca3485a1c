"""What a classifier scores on whole splits.

Shapes: B batch, N images, K classes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train.data.images import LabelledImages, Preprocessing
from train.shared.losses import cross_entropy
from train.shared.mesh import batch_sharding
from train.shared.step import means
from train.shared.views import Views, over_views


class Evaluator:
    """Metrics and probabilities over whole splits, the same whatever the batch size and the devices.

    With `views` the probabilities of an image are the mean of those of its views (see `train.shared.views`).
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        batch_size: int,
        mesh: jax.sharding.Mesh,
        views: Views | None = None,
    ):
        self.batch_size, self._sharding = batch_size, batch_sharding(mesh)
        predict = lambda variables, images: model.apply(variables, preprocessing(images), train=False)
        predict = over_views(predict, views) if views else predict

        def evaluate(variables, images, labels, weights):
            logits = predict(variables, images).astype(jnp.float32)
            probabilities = jax.nn.softmax(logits)
            # Not of bfloat16 logits: XLA may leave their rounding out for one use of them and not for another.
            correct = probabilities.argmax(-1) == labels
            sums = {"loss": (cross_entropy(logits, labels) * weights).sum(), "accuracy": (correct * weights).sum()}
            return sums | {"count": weights.sum()}, probabilities

        self._evaluate = jax.jit(evaluate)

    def __call__(self, variables: Any, split: LabelledImages) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Returns the mean loss and accuracy over a split, the probabilities [N, K] of its images and their labels."""
        size, totals, probabilities, seen = self.batch_size, {}, [], []
        order = lambda step: np.arange(step * size, min((step + 1) * size, len(split)))
        for batch in split.batches(order, 0, -(-len(split) // size)):
            images, labels = batch["image"], batch["label"]
            missing = size - len(labels)
            weights = np.pad(np.ones(len(labels), np.float32), (0, missing))
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
            arrays = jax.device_put((images, np.pad(labels, (0, missing)), weights), self._sharding)
            sums, batch_probabilities = jax.device_get(self._evaluate(variables, *arrays))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
            probabilities.append(batch_probabilities[: len(labels)])
            seen.append(labels)
        return means(totals), np.concatenate(probabilities), np.concatenate(seen)
