"""A text in streams that go on from step to step, for language models that carry a state: recurrent layers.

Truncated backpropagation through time: the text is cut into a stream for each row of the batch, the streams into chunks
of one step each, and the recurrent state is carried from chunk to chunk, with it from checkpoint to checkpoint. Shapes:
B batch, T tokens of a chunk, C chunks of a stream, N characters, S streams of the evaluation, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.rnn.language_model import LanguageModel
from train.shared.losses import token_scores
from train.shared.step import means

CARRY = "carry"  # the collection of the model state that the recurrent state is kept in


class Streams:
    """The chunks of each step: one of every stream, in the order of the text; each epoch begins anew."""

    def __init__(self, tokens: np.ndarray, batch_size: int, chunk: int):
        """Cuts a text, int32 [N], into B streams of C chunks; what is left over at its end is left out.

        Raises:
            ValueError: it is shorter than one chunk of each stream.
        """
        self.steps_per_epoch = (len(tokens) - 1) // (batch_size * chunk)
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"--batch-size {batch_size} streams of --chunk {chunk} characters, and the one after the last, need "
                f"more than the {len(tokens):,} of the training part"
            )
        starts = chunk * np.arange(batch_size * self.steps_per_epoch)
        self.chunks = tokens[starts[:, None] + np.arange(chunk + 1)]  # [B C, T + 1], each with the token that follows
        self._first = self.steps_per_epoch * np.arange(batch_size, dtype=np.int32)

    def __call__(self, step: int) -> np.ndarray:
        """Returns the numbers [B] of the chunks of a step."""
        return self._first + step % self.steps_per_epoch


def make_loss_fn(model: LanguageModel, steps_per_epoch: int, axis_name: str | None = None) -> Callable:
    """Returns the loss of a batch of chunks int32 [B, T + 1] (see `make_train_step`), in nats, summed over tokens.

    Under `pmap`, `axis_name` is the axis that the batch is dealt out over; the state of all streams is on each device.
    """

    def loss_fn(params, model_state, batch, rng, step):
        is_first = step % steps_per_epoch == 0
        carry = jax.tree.map(lambda part: jnp.where(is_first, 0, part), model_state[CARRY])
        carry = _own_streams(carry, len(batch), axis_name)
        logits, carry = model.apply({"params": params}, batch[:, :-1], carry, train=True, rngs={"dropout": rng})
        losses, correct = token_scores(logits, batch[:, 1:])
        model_state = {CARRY: _all_streams(carry, axis_name)}
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {"accuracy": correct.sum()})

    return loss_fn


def _own_streams(carry: Any, count: int, axis_name: str | None) -> Any:  # [L, B, H] each -> [L, count, H]
    if axis_name is None:
        return carry
    first = count * jax.lax.axis_index(axis_name)
    return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, first, count, 1), carry)


def _all_streams(carry: Any, axis_name: str | None) -> Any:  # [L, count, H] each -> [L, B, H]
    if axis_name is None:
        return carry
    return jax.tree.map(lambda part: jax.lax.all_gather(part, axis_name, axis=1, tiled=True), carry)


class Evaluator:
    """The loss and accuracy of a text, of every character but its first, whatever the batch and the devices."""

    def __init__(self, model: LanguageModel, chunk: int = 256):
        """Compiles nothing yet; `chunk` is the tokens of a dispatch, on which the result does not depend."""
        self._model, self._chunk = model, chunk

        def evaluate(params, carry, inputs, targets, weights):  # weights: 0 past the end
            logits, carry = model.apply({"params": params}, inputs, carry, train=False)
            losses, correct = token_scores(logits, targets)
            return carry, {"loss": (losses * weights).sum(), "accuracy": (correct * weights).sum()}

        self._evaluate = jax.jit(evaluate)

    def __call__(self, params: Any, tokens: np.ndarray, streams: int = 1) -> dict[str, float]:
        """Returns the means over a text, int32 [N].

        Args:
            params: of the model.
            tokens: two or more.
            streams: S, into which the text is cut: each begins with a state of zeros and carries it to its end.
        """
        count = len(tokens) - 1
        length = -(-count // streams)
        chunk = min(self._chunk, length)
        missing = streams * length - count
        deal = lambda array: np.pad(
            np.pad(array, (0, missing)).reshape(streams, length), ((0, 0), (0, -length % chunk))
        )  # [S, C T]
        columns = map(deal, (tokens[:-1], tokens[1:], np.ones(count, np.float32)))
        chunks = zip(*(np.split(part, part.shape[1] // chunk, 1) for part in columns), strict=True)
        carry, totals = self._model.initial_state(streams), {"count": count}
        for inputs, targets, weights in chunks:
            carry, sums = self._evaluate(params, carry, inputs, targets, weights)
            totals |= {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)
