"""A translator at work: what it says of pairs, what it writes, and where it looks as it does.

Shapes: B pairs, N pairs of a split, S source tokens, T target tokens, V target vocabulary, L tokens written at most,
H heads of attention.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision.layers.pairs import Pairs
from jaxvision.ops.decoding import beam_search, greedy
from train.data.parallel import END, PAD, START, UNKNOWN, Sentences, Vocabulary
from train.shared.mesh import batch_sharding
from train.shared.step import means

Look = tuple[list[str], list[str], np.ndarray]
"""Tokens of a source, those that were written, and the share [H, T, S] of each of those for each of these."""


def given(pairs: Pairs) -> Pairs:  # target [B, T + 1] -> [B, T]
    """Returns what the decoder is given: all but the last token, which nothing follows."""
    return pairs._replace(target=pairs.target[:, :-1])


def scores(
    logits: jax.Array, targets: jax.Array, smoothing: float = 0.0
) -> dict[str, jax.Array]:  # [B, T, V], [B, T] -> []
    """Returns the sums of the loss in nats and of the likeliest tokens that are right, and their number, no padding.

    Args:
        logits: [B, T, V].
        targets: int [B, T].
        smoothing: share of the probability spread evenly over the vocabulary, https://arxiv.org/abs/1512.00567.
    """
    logits, weights = logits.astype(jnp.float32), (targets != PAD).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    if smoothing:
        spread = jax.nn.logsumexp(logits, -1) - logits.mean(-1)
        losses += smoothing * (spread - losses)
    correct = logits.argmax(-1) == targets
    return {"loss": (losses * weights).sum(), "accuracy": (correct * weights).sum(), "count": weights.sum()}


def make_write(model: nn.Module, encode: Callable[[Any, Any], tuple[Any, Any]], max_length: int) -> Callable:
    """Returns the compiled function of variables, a batch, beams and length penalty to what is written, int [B, L].

    By beam search, or with one beam the likeliest tokens.

    Args:
        model: has `step` of tokens, state and memory, as `Seq2Seq` has it.
        encode: `(variables, batch) -> (memory, state)`.
        max_length: L.
    """

    @partial(jax.jit, static_argnums=(2, 3))
    def write(variables, batch, beams, length_penalty):
        memory, state = encode(variables, batch)

        def step(tokens, state):
            logits, state = model.apply(variables, tokens, state, memory, method="step")
            return logits.at[:, jnp.array([PAD, START, UNKNOWN])].set(-jnp.inf), state  # they stand for no text

        first, limits = jnp.full(len(jax.tree.leaves(state)[0]), START), {"max_length": max_length, "end": END}
        if beams == 1:
            return greedy(step, state, first, **limits)
        return beam_search(step, state, first, beams=beams, length_penalty=length_penalty, **limits).tokens[:, 0]

    return write


class Translator:
    """What a model says of whole splits, the same whatever the batch size and the devices.

    The model has `__call__` of `Pairs`, and to write `encode`, `step` and `align`, as `Seq2Seq` has them.
    """

    def __init__(self, model: nn.Module, max_length: int, mesh: jax.sharding.Mesh, batch_size: int = 250):
        """Compiles nothing yet; `max_length` is L."""
        self._batch_size, self._sharding = -(-batch_size // mesh.size) * mesh.size, batch_sharding(mesh)
        logits = lambda params, pairs: model.apply({"params": params}, given(pairs), train=False)
        self._scores = jax.jit(lambda params, pairs: scores(logits(params, pairs), pairs.target[:, 1:]))

        encode = lambda variables, pairs: model.apply(
            variables, pairs.source, pairs.lengths, train=False, method="encode"
        )
        self._write = make_write(model, encode, max_length)
        self._align = jax.jit(partial(model.apply, train=False, method="align"))

    def measure(self, params: Any, split: Sentences) -> dict[str, float]:
        """Returns the means over the tokens of a split, each after those that are right."""
        totals: dict[str, float] = {}
        for batch, _ in self._batches(split, np.arange(len(split))):
            sums = jax.device_get(self._scores(params, batch))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)

    def write(self, params: Any, split: Sentences, beams: int = 1, length_penalty: float = 0.0) -> np.ndarray:
        """Returns the translations of a split, int [N, L]: by beam search, or with one beam the likeliest tokens."""
        run = lambda pairs: np.asarray(self._write({"params": params}, pairs, beams, length_penalty))
        order = np.argsort(split.lengths, kind="stable")  # a search ends with the last of its batch
        parts = [run(batch)[:size] for batch, size in self._batches(split, order)]
        return np.concatenate(parts)[np.argsort(order)]

    def look(
        self, params: Any, split: Sentences, written: np.ndarray, source: Vocabulary, target: Vocabulary
    ) -> list[Look]:
        """Returns where the decoder looked as it wrote the translations int [N, L] of a split: nowhere, no attention.

        A recurrent decoder has one head; of a Transformer it is those of the last block.

        Args:
            params: of the model.
            split: the sentences.
            written: as `write` returns it.
            source, target: the vocabularies.
        """
        before = np.concatenate([np.full((len(written), 1), START), written[:, :-1]], 1)
        _, weights = self._align({"params": params}, Pairs(split.source, split.lengths, before))
        if weights is None:
            return []
        heads = np.asarray(weights if weights.ndim == 4 else weights[:, None], np.float32)
        tokens = lambda row, vocabulary: [vocabulary.tokens[token].strip() or "␣" for token in row]
        ends = [min(np.count_nonzero(row != END) + 1, len(row)) for row in written]
        return [
            (tokens(row[:length], source), tokens(said[:end], target), shares[:, :end, :length])
            for row, length, said, end, shares in zip(split.source, split.lengths, written, ends, heads, strict=True)
        ]

    def _batches(self, split: Sentences, order: np.ndarray):
        """Yields batches in an order [N], and how many pairs of each are not padding."""
        for first in range(0, len(order), self._batch_size):
            chosen = order[first : first + self._batch_size]
            missing = self._batch_size - len(chosen)
            fill = lambda array: np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1)))  # noqa: B023
            parts = (fill(array[chosen]) for array in (split.source, split.lengths, split.target))
            yield jax.device_put(Pairs(*parts), self._sharding), len(chosen)
