"""Decoding against enumeration, a beam search in plain Python, and the frequencies of draws."""

import heapq
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.ops.decoding import beam_search, greedy, keep_top_k, keep_top_p, sample

VOCABULARY, LENGTH, END = 4, 5, 0
# A model that remembers all it has seen: its logits are a function of the last two tokens and of their number.
TABLE = np.random.RandomState(0).randn(LENGTH, VOCABULARY, VOCABULARY, VOCABULARY).astype(np.float32) * 1.5


def step(tokens, state):
    before, number = state
    return jnp.asarray(TABLE)[number, before, tokens], (tokens, number + 1)


def state_of(batch):
    return jnp.arange(batch, dtype=jnp.int32) % VOCABULARY, jnp.zeros(batch, jnp.int32)


FIRST = jnp.array([1, 2, 3], jnp.int32)


def log_probabilities(before, last, number):
    logits = TABLE[number, before, last].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def score(before, first, tokens):
    """The sum of the log probabilities of a sequence."""
    total, last = 0.0, first
    for number, token in enumerate(tokens):
        total += log_probabilities(before, last, number)[token]
        before, last = last, token
    return total


def sequences():
    """All that can be written: they end at the first `END`, or have the full length."""
    others = range(1, VOCABULARY)
    for length in range(LENGTH):
        for beginning in itertools.product(others, repeat=length):
            yield (*beginning, END)
    yield from itertools.product(others, repeat=LENGTH)


def penalized(before, first, tokens, alpha):
    return score(before, first, tokens) / ((5 + len(tokens)) / 6) ** alpha


def written(tokens, length):
    return tuple(int(token) for token in tokens[:length])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_with_beams_enough_the_search_is_exhaustive(alpha):
    search = jax.jit(partial(beam_search, step, beams=300, max_length=LENGTH, end=END, length_penalty=alpha))
    found = search(state_of(3), FIRST)
    for row, first in enumerate(FIRST.tolist()):
        ranking = sorted(sequences(), key=lambda tokens: -penalized(row, first, tokens, alpha))
        for rank in range(20):
            tokens = written(found.tokens[row, rank], found.lengths[row, rank])
            assert tokens == ranking[rank]
            np.testing.assert_allclose(found.scores[row, rank], penalized(row, first, tokens, alpha), rtol=1e-5)
            assert (found.tokens[row, rank, len(tokens) :] == END).all()


def plain_beam_search(before, first, beams, alpha):
    """The same search over lists of tokens."""
    alive, kept = [((), 0.0)], []
    for number in range(LENGTH):
        grown = []
        for tokens, total in alive:
            context = (before, first, *tokens)[-2:]
            logs = log_probabilities(*context, number)
            grown += [((*tokens, token), total + logs[token]) for token in range(VOCABULARY)]
        grown = heapq.nlargest(2 * beams, grown, key=lambda pair: pair[1])
        ended = [(t, s / ((5 + len(t)) / 6) ** alpha) for t, s in grown if t[-1] == END]
        kept = heapq.nlargest(beams, kept + ended, key=lambda pair: pair[1])
        alive = [pair for pair in grown if pair[0][-1] != END][:beams]
        best = alive[0][1] / ((5 + LENGTH) / 6) ** alpha
        if len(kept) == beams and best <= kept[-1][1]:
            return kept
    alive = [(t, s / ((5 + LENGTH) / 6) ** alpha) for t, s in alive]
    return heapq.nlargest(beams, kept + alive, key=lambda pair: pair[1])


@pytest.mark.parametrize(("beams", "alpha"), [(1, 0.0), (2, 0.0), (3, 0.6)])
def test_narrow_beams_find_what_the_plain_search_finds(beams, alpha):
    search = jax.jit(partial(beam_search, step, beams=beams, max_length=LENGTH, end=END, length_penalty=alpha))
    for row, first in enumerate(FIRST.tolist()):  # alone: a batch goes on until its last sequence is done
        found = search(jax.tree.map(lambda leaf: leaf[row : row + 1], state_of(3)), FIRST[row : row + 1])  # noqa: B023
        for rank, (tokens, total) in enumerate(plain_beam_search(row, first, beams, alpha)):
            assert written(found.tokens[0, rank], found.lengths[0, rank]) == tokens
            np.testing.assert_allclose(found.scores[0, rank], total, rtol=1e-5)


def test_greedy_takes_the_likeliest_token_until_the_end():
    found = jax.jit(partial(greedy, step, max_length=LENGTH, end=END))(state_of(3), FIRST)
    for row, first in enumerate(FIRST.tolist()):
        context, tokens = (row, first), []
        while len(tokens) < LENGTH and END not in tokens:
            tokens.append(int(log_probabilities(*context, len(tokens)).argmax()))
            context = (context[1], tokens[-1])
        assert found[row].tolist() == tokens + [END] * (LENGTH - len(tokens))


def test_draws_have_the_probabilities_of_the_model():
    draw = jax.jit(partial(sample, step, max_length=2, end=-1, temperature=0.7))
    many = 20_000
    state, first = (jnp.zeros(many, jnp.int32), jnp.zeros(many, jnp.int32)), jnp.ones(many, jnp.int32)
    found = np.asarray(draw(state, first, key=jax.random.key(0)))
    expected = np.zeros((VOCABULARY, VOCABULARY))
    for one, two in itertools.product(range(VOCABULARY), repeat=2):
        soft = lambda logits: np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
        expected[one, two] = soft(TABLE[0, 0, 1])[one] * soft(TABLE[1, 1, one])[two]
    counts = np.zeros_like(expected)
    np.add.at(counts, (found[:, 0], found[:, 1]), 1)
    assert np.abs(counts / many - expected).max() < 4 * math.sqrt(0.25 / many)
    np.testing.assert_array_equal(found, draw(state, first, key=jax.random.key(0)))
    assert not np.array_equal(found, draw(state, first, key=jax.random.key(1)))


def test_what_has_ended_stays_ended():
    found = np.asarray(
        sample(step, state_of(500), jnp.ones(500, jnp.int32), key=jax.random.key(0), max_length=LENGTH, end=END)
    )
    assert (found == END).any()
    for row in found:
        ends = np.flatnonzero(row == END)
        assert not len(ends) or (row[ends[0] :] == END).all()


def test_only_the_likeliest_are_drawn():
    logits = jnp.log(jnp.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]))
    kept = lambda filtered: np.isfinite(filtered).tolist()
    assert kept(keep_top_k(logits, 2)) == [[False, True, False, True], [True] * 4]
    assert kept(keep_top_k(logits, 9)) == [[True] * 4] * 2
    assert kept(keep_top_p(logits, 0.65)) == [[False, True, False, True], [True, True, True, False]]
    assert kept(keep_top_p(logits, 0.05))[0] == [False, True, False, False]
    assert kept(keep_top_p(logits, 1.0)) == [[True] * 4] * 2
    np.testing.assert_array_equal(keep_top_p(logits, 0.65)[0, jnp.array([1, 3])], logits[0, jnp.array([1, 3])])
    state, first = state_of(500), jnp.ones(500, jnp.int32)
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 0.0}):
        drawn = sample(step, state, first, key=jax.random.key(3), max_length=LENGTH, end=END, **options)
        np.testing.assert_array_equal(drawn, greedy(step, state, first, max_length=LENGTH, end=END))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keep_top_k(jnp.zeros(3), 0), "top_k must be 1 or more, got 0"),
        (lambda: keep_top_p(jnp.zeros(3), 0.0), "top_p must be above 0"),
        (lambda: greedy(step, state_of(3), FIRST, max_length=0, end=END), "max_length must be 1 or more, got 0"),
        (
            lambda: sample(step, state_of(3), FIRST, key=jax.random.key(0), max_length=2, end=0, temperature=-1),
            "temperature must be 0 or more, got -1",
        ),
        (lambda: beam_search(step, state_of(3), FIRST, beams=0, max_length=2, end=END), "beams must be 1 or more"),
        (
            lambda: beam_search(step, state_of(3), FIRST, beams=1, max_length=2, end=END, length_penalty=-0.1),
            "length_penalty must be 0 or more",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
