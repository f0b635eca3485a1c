"""Writing sequences token by token: sampling, the likeliest token at each step, and beam search.

A model is a function `step(tokens, state) -> (logits, state)`: of the last token of each sequence, int [B], and of what
it remembers of those before, arrays whose first axis is the sequence (a recurrent state, a cache of keys and values).
Everything has a fixed size and runs within `jax.jit`; a sequence ends with the token `end`, after which it is padded
with `end`. Shapes: B sequences, K beams, L the greatest length, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Step = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


def keep_top_k(logits: jax.Array, k: int) -> jax.Array:  # [..., V] -> [..., V]
    """Leaves the k highest logits as they are and sets the others to -inf; equals of the k-th stay.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"top_k must be 1 or more, got {k}")
    least = lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
    return jnp.where(logits < least, -jnp.inf, logits)


def keep_top_p(logits: jax.Array, p: float) -> jax.Array:  # [..., V] -> [..., V]
    """Leaves the fewest likeliest tokens whose probabilities sum to p, the others get -inf.

    Nucleus sampling: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751.

    Raises:
        ValueError: p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {p}")
    order = jnp.argsort(-logits, -1)
    sorted_p = jax.nn.softmax(jnp.take_along_axis(logits, order, -1).astype(jnp.float32))
    before = jnp.cumsum(sorted_p, -1) - sorted_p  # the first is always kept
    kept = jnp.take_along_axis(before < p, jnp.argsort(order, -1), -1)
    return jnp.where(kept, logits, -jnp.inf)


def sample(
    step: Step,
    state: Any,
    first: jax.Array,
    *,
    key: jax.Array,
    max_length: int,
    end: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> jax.Array:  # [B] -> [B, L]
    """Draws each token from the model's probabilities.

    Args:
        step: the model.
        state: what it remembers before the first token.
        first: int [B], the token that each sequence begins with; it is not part of the result.
        key: from `jax.random.key`.
        max_length: L.
        end: the token that ends a sequence; -1 where none does.
        temperature: what the logits are divided by; 0 for the likeliest token, as `greedy`.
        top_k: of how many tokens, the likeliest, one is drawn.
        top_p: of how much probability, that of the likeliest tokens, one is drawn.

    Raises:
        ValueError: an argument out of range.
    """
    _check_least(1, max_length=max_length)
    _check_least(0, temperature=temperature)

    def choose(logits: jax.Array, key: jax.Array) -> jax.Array:
        if temperature == 0:
            return logits.argmax(-1)
        logits = logits.astype(jnp.float32) / temperature
        logits = logits if top_k is None else keep_top_k(logits, top_k)
        logits = logits if top_p is None else keep_top_p(logits, top_p)
        return jax.random.categorical(key, logits)

    def body(carry, key):
        tokens, ended, state = carry
        logits, state = step(tokens, state)
        tokens = jnp.where(ended, end, choose(logits, key)).astype(tokens.dtype)
        return (tokens, ended | (tokens == end), state), tokens

    first = jnp.asarray(first)
    ended = jnp.zeros(first.shape, bool)
    _, written = lax.scan(body, (first, ended, state), jax.random.split(key, max_length))
    return written.T


def greedy(step: Step, state: Any, first: jax.Array, *, max_length: int, end: int) -> jax.Array:  # [B] -> [B, L]
    """Writes the likeliest token at each step; takes what `sample` takes."""
    return sample(step, state, first, key=jax.random.key(0), max_length=max_length, end=end, temperature=0)


class Beams(NamedTuple):
    """The sequences that a beam search found, the best first.

    Attributes:
        tokens: int [B, K, L].
        scores: [B, K], the sum of the tokens' log probabilities over the penalty of the length; -inf where fewer than
            K sequences were found.
        lengths: int [B, K], the end included.
    """

    tokens: jax.Array
    scores: jax.Array
    lengths: jax.Array


def beam_search(
    step: Step,
    state: Any,
    first: jax.Array,
    *,
    beams: int,
    max_length: int,
    end: int,
    length_penalty: float = 0.0,
) -> Beams:
    """Keeps the likeliest beginnings at each step, and returns the best sequences that ended.

    Of 2 K continuations those that end are kept aside, K at most, and the K best others go on, until none of them can
    still become better than those kept or the length is reached; what has not ended by then counts as it is.

    Args:
        step, state, first, max_length, end: as of `sample`.
        beams: K.
        length_penalty: alpha of ((5 + length) / 6)^alpha, by which sums of log probabilities are divided
            (https://arxiv.org/abs/1609.08144, equation 14): above 0 longer sequences are preferred.

    Raises:
        ValueError: an argument out of range.
    """
    _check_least(1, beams=beams, max_length=max_length)
    _check_least(0, length_penalty=length_penalty)
    search = _Search(step, beams, max_length, end, length_penalty)
    return search.run(state, jnp.asarray(first))


class _Alive(NamedTuple):
    length: jax.Array  # []
    tokens: jax.Array  # [B, K, L]
    last: jax.Array  # [B, K]
    scores: jax.Array  # [B, K], sums of log probabilities
    state: Any  # [B K, ...]


class _Search(NamedTuple):
    step: Step
    beams: int
    max_length: int
    end: int
    alpha: float

    def penalty(self, length: jax.Array | int) -> jax.Array:
        return ((5 + jnp.float32(length)) / 6) ** self.alpha

    def run(self, state: Any, first: jax.Array) -> Beams:
        shape = (len(first), self.beams)
        tokens = jnp.full((*shape, self.max_length), self.end, first.dtype)
        only_one = jnp.where(jnp.arange(self.beams) == 0, 0.0, -jnp.inf)  # all beams begin alike
        alive = _Alive(
            jnp.int32(0),
            tokens,
            jnp.broadcast_to(first[:, None], shape),
            jnp.broadcast_to(only_one, shape),
            jax.tree.map(lambda leaf: jnp.repeat(leaf, self.beams, 0), state),
        )
        kept = Beams(tokens, jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
        alive, kept = lax.while_loop(
            lambda both: self.may_improve(*both), lambda both: self.advance(*both), (alive, kept)
        )
        scores = alive.scores / self.penalty(self.max_length)
        unended = jnp.where(alive.length == self.max_length, scores, -jnp.inf)
        return _best(kept, Beams(alive.tokens, unended, jnp.full(shape, alive.length)), self.beams)

    def may_improve(self, alive: _Alive, kept: Beams) -> jax.Array:
        reachable = alive.scores[:, 0] / self.penalty(self.max_length)  # sums only fall
        return (alive.length < self.max_length) & (reachable > kept.scores[:, -1]).any()

    def advance(self, alive: _Alive, kept: Beams) -> tuple[_Alive, Beams]:
        batch = len(alive.last)
        logits, state = self.step(alive.last.reshape(-1), alive.state)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(batch, self.beams, -1)
        vocabulary = log_p.shape[-1]
        sums = (alive.scores[..., None] + log_p).reshape(batch, -1)
        scores, choices = lax.top_k(sums, min(2 * self.beams, sums.shape[1]))  # K end at most: K others are among them
        parents, last = choices // vocabulary, (choices % vocabulary).astype(alive.last.dtype)
        tokens = jnp.take_along_axis(alive.tokens, parents[..., None], 1)
        tokens = lax.dynamic_update_slice_in_dim(tokens, last[..., None], alive.length, 2)
        length, ends = alive.length + 1, last == self.end
        ended = jnp.where(ends, scores / self.penalty(length), -jnp.inf)
        kept = _best(kept, Beams(tokens, ended, jnp.full(ended.shape, length)), self.beams)
        scores, order = lax.top_k(jnp.where(ends, -jnp.inf, scores), self.beams)
        pick = lambda array: _picked(array, order)
        rows = (jnp.arange(batch)[:, None] * self.beams + pick(parents)).reshape(-1)
        state = jax.tree.map(lambda leaf: leaf[rows], state)
        return _Alive(length, pick(tokens), pick(last), scores, state), kept


def _best(first: Beams, second: Beams, count: int) -> Beams:
    """Returns the best of two sets of sequences."""
    joined = Beams(*(jnp.concatenate(parts, 1) for parts in zip(first, second, strict=True)))
    scores, order = lax.top_k(joined.scores, count)
    return Beams(_picked(joined.tokens, order), scores, _picked(joined.lengths, order))


def _picked(array: jax.Array, order: jax.Array) -> jax.Array:  # [B, M, ...], [B, K] -> [B, K, ...]
    return jnp.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), 1)


def _check_least(least: int, **arguments: float) -> None:
    for name, value in arguments.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
