"""A text in windows that begin anew, for language models that carry no state: Transformers.

Shapes: B batch, T tokens of a window, W windows, N characters, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.transformer.gpt import GPT
from train.shared.feed import ShuffledOrder
from train.shared.losses import token_scores
from train.shared.step import means


class Windows(ShuffledOrder):
    """The windows of each step: those that a text is cut into, in another order each epoch."""

    def __init__(self, tokens: np.ndarray, batch_size: int, length: int, seed: int):
        """Cuts a text, int32 [N], into windows of T tokens; what is left over at its end is left out.

        Raises:
            ValueError: they are fewer than B.
        """
        count = (len(tokens) - 1) // length
        if batch_size > count:
            raise ValueError(
                f"--batch-size {batch_size} windows of --chunk {length} characters, and the one after the last, need "
                f"more than the {len(tokens):,} of the training part"
            )
        starts = length * np.arange(count)
        self.chunks = tokens[starts[:, None] + np.arange(length + 1)]  # [W, T + 1], each with the token that follows
        super().__init__(count, batch_size, seed)


def make_loss_fn(model: GPT) -> Callable:
    """Returns the loss of a batch of windows int32 [B, T + 1] (see `make_train_step`), in nats, summed over tokens."""

    def loss_fn(params, model_state, batch, rng, step):
        del step
        logits, _ = model.apply({"params": params}, batch[:, :-1], train=True, rngs={"dropout": rng})
        losses, correct = token_scores(logits, batch[:, 1:])
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {"accuracy": correct.sum()})

    return loss_fn


class Evaluator:
    """The loss and accuracy of a text, of every character but its first, each after half a window of others or more.

    Or after all that there are: windows begin half a window after each other, and all but the first count their second
    half alone.
    """

    def __init__(self, model: GPT):
        """Compiles nothing yet; windows have the `max_length` of the model."""
        self._length = model.max_length

        def evaluate(params, inputs, targets, weights):
            logits, _ = model.apply({"params": params}, inputs, train=False)
            losses, correct = token_scores(logits, targets)
            return {"loss": (losses * weights).sum(), "accuracy": (correct * weights).sum()}

        self._evaluate = jax.jit(evaluate)

    def __call__(self, params: Any, tokens: np.ndarray, rows: int = 32) -> dict[str, float]:
        """Returns the means over a text, int32 [N].

        Args:
            params: of the model.
            tokens: two or more.
            rows: windows of a dispatch, on which the result does not depend.
        """
        windows = overlapping(tokens, self._length)
        missing = -len(windows[0]) % rows
        filled = [np.pad(part, ((0, missing), (0, 0))) for part in windows]
        totals: dict[str, float] = {"count": len(tokens) - 1}
        for batch in zip(*(part.reshape(-1, rows, self._length) for part in filled), strict=True):
            sums = self._evaluate(params, *batch)
            totals |= {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)


def overlapping(tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # [N] -> [W, T] each
    """Returns windows of a text, what follows each token, and which of them count: each token of the text once."""
    count, stride = len(tokens) - 1, max(length // 2, 1)
    starts = stride * np.arange(1 + -(-max(count - length, 0) // stride))
    places = starts[:, None] + np.arange(length)
    counts = (places < count) & ((starts == 0)[:, None] | (np.arange(length) >= length - stride))
    padded = np.pad(tokens, (0, length))
    return padded[places], padded[places + 1], counts.astype(np.float32)
