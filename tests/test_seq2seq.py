"""Encoder and decoder against PyTorch's cells in a loop, and against what follows from their definitions."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.layers.pairs import Pairs
from jaxvision.ops.decoding import beam_search
from jaxvision.rnn.seq2seq import Seq2Seq
from jaxvision.weights import from_foreign, to_foreign
from tests.reference import seq2seq_cases as cases
from tests.reference.descent import descended
from tests.reference.stored import FOLDER

EXPECTED = np.load(FOLDER / "seq2seq.npz")
RANDOM = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def pairs_of(case):
    return Pairs(cases.source(case), np.array(cases.LENGTHS), cases.target(case)[:, :-1])


@pytest.mark.parametrize("case", cases.CASES)
def test_outputs_gradients_and_steps_are_those_of_pytorch(case):
    prefix = f"{case}: gradient of "
    names = [name.removeprefix(prefix) for name in EXPECTED.files if name.startswith(prefix)]
    weights = cases.weights(case, {name: EXPECTED[prefix + name].shape for name in names})
    with jax.enable_x64(True):
        fields = {"hidden": cases.HIDDEN, "embedding": cases.EMBEDDING, "dtype": jnp.float64, **cases.CASES[case]}
        model = Seq2Seq(cases.SOURCE_SIZE, cases.TARGET_SIZE, **fields)
        variables = from_foreign(model, weights, "torch", dtype=jnp.float64)

        @jax.jit
        @partial(jax.value_and_grad, has_aux=True)
        def run(variables):
            logits, alignments = model.apply(variables, pairs_of(case), train=False, method="align")
            targets = cases.target(case)[:, 1:]
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).sum(), (logits, alignments)

        (loss, (logits, alignments)), gradients = run(variables)
        after = to_foreign(model, descended(lambda params: run(params)[1], variables), "torch", dtype=np.float64)
        of_weights = to_foreign(model, gradients, "torch", dtype=np.float64)
        again = to_foreign(model, variables, "torch", dtype=np.float64)
    assert_close(loss, EXPECTED[f"{case}: loss"])
    assert_close(logits, EXPECTED[f"{case}: logits"])
    if case == "none":
        assert alignments is None
    else:
        assert_close(alignments, EXPECTED[f"{case}: alignments"])
    assert set(of_weights) == set(weights)
    for name, gradient in of_weights.items():
        assert_close(gradient, EXPECTED[prefix + name])
        assert_close(after[name], EXPECTED[f"{case}: {name} after the steps"])
        np.testing.assert_array_equal(again[name], weights[name])


def drawn(**fields):
    """A model whose logits are far apart, and its parameters."""
    model = Seq2Seq(6, 4, **{"hidden": 6, "embedding": 3, **fields})
    return model, jax.tree.map(lambda leaf: 3 * leaf, jv.init(model, jax.random.key(0)))


def some_pairs(steps=5):
    return Pairs(RANDOM.randint(0, 6, (3, 7)), np.array([7, 4, 2]), RANDOM.randint(0, 4, (3, steps)))


def test_padding_changes_nothing():
    model, variables = drawn()
    pairs = some_pairs()
    run = jax.jit(partial(model.apply, train=False, method="align"))
    logits, alignments = run(variables, pairs)
    hidden = np.arange(7) >= pairs.lengths[:, None]
    changed = pairs._replace(source=np.where(hidden, (pairs.source + 1) % 6, pairs.source))
    longer = pairs._replace(source=np.pad(pairs.source, ((0, 0), (0, 3)), constant_values=5))
    for other in (changed, longer):
        assert_close(run(variables, other)[0], logits, 1e-6)
    assert not np.asarray(alignments)[np.broadcast_to(hidden[:, None], alignments.shape)].any()
    assert_close(alignments.sum(-1), np.ones((3, 5)), 1e-6)


def test_steps_give_what_the_whole_target_does():
    model, variables = drawn(attention="none", num_layers=2)
    pairs = some_pairs()
    expected = jax.jit(partial(model.apply, train=False))(variables, pairs)
    encode = jax.jit(partial(model.apply, train=False, method="encode"))
    memory, state = encode(variables, pairs.source, pairs.lengths)
    step = jax.jit(partial(model.apply, method="step"))
    for number, tokens in enumerate(pairs.target.T):
        logits, state = step(variables, tokens, state, memory)
        assert_close(logits, expected[:, number], 1e-5)


@pytest.mark.parametrize("fields", [
    {"cell": "gru"}, {"attention": "none", "num_layers": 2}, {"attention": "multiplicative"},
    {"cell": "gru", "attention": "dot"},
])  # fmt: skip
def test_with_beams_enough_the_search_of_the_model_is_exhaustive(fields):
    length, end, alpha = 3, 0, 0.8
    model, variables = drawn(**fields)
    source, lengths = RANDOM.randint(0, 6, (2, 5)), np.array([5, 3])
    first = np.array([1, 2], np.int32)
    written = [(*beginning, end) for n in range(length) for beginning in itertools.product((1, 2, 3), repeat=n)] + list(
        itertools.product((1, 2, 3), repeat=length)
    )

    @jax.jit
    def search(variables):
        memory, state = model.apply(variables, source, lengths, train=False, method="encode")
        step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
        return beam_search(step, state, first, beams=30, max_length=length, end=end, length_penalty=alpha)

    found = search(variables)
    force = jax.jit(partial(model.apply, train=False))
    padded = np.array([[*tokens, *[end] * (length - len(tokens))] for tokens in written])
    for row in range(2):
        many = lambda array: np.repeat(array[row : row + 1], len(written), 0)  # noqa: B023
        before = np.concatenate([many(first)[:, None], padded[:, :-1]], 1)
        logits = force(variables, Pairs(many(source), many(lengths), before))
        logs = np.take_along_axis(log_softmax(np.float64(logits), -1), padded[..., None], -1)[..., 0]
        scores = [logs[n, : len(tokens)].sum() / ((5 + len(tokens)) / 6) ** alpha for n, tokens in enumerate(written)]
        for rank, best in enumerate(np.argsort(scores)[::-1][:20]):
            assert tuple(found.tokens[row, rank, : found.lengths[row, rank]].tolist()) == written[best]
            np.testing.assert_allclose(found.scores[row, rank], scores[best], rtol=1e-4)


def test_scheduled_sampling_replaces_tokens_by_what_the_model_says():
    model, variables = drawn()
    many = lambda array: np.repeat(array[:1], 4000, 0)
    pairs = jax.tree.map(many, some_pairs(steps=2))
    run = jax.jit(partial(model.apply, train=True))
    forced = run(variables, pairs)
    rngs = {"sampling": jax.random.key(0)}
    sample = jax.jit(lambda sampling: model.apply(variables, pairs, sampling=sampling, train=True, rngs=rngs))
    assert_close(sample(0.0), forced, 1e-6)
    sampled = sample(0.5)
    assert_close(sampled[:, 0], forced[:, 0], 1e-6)  # nothing was said before the first
    after = [run(variables, pairs._replace(target=pairs.target * [1, 0] + [0, token]))[0, 1] for token in range(4)]
    came_of = np.array([np.abs(sampled[:, 1] - logits).max(-1) < 1e-5 for logits in after])
    assert (came_of.sum(0) == 1).all()
    expected = 0.5 * np.asarray(jax.nn.softmax(forced[0, 0])) + 0.5 * np.eye(4)[pairs.target[0, 1]]
    np.testing.assert_allclose(came_of.mean(1), expected, atol=4 * 0.5 / 4000**0.5)


def test_dropout_is_of_training_alone():
    model, variables = drawn(dropout=0.5, num_layers=2)
    pairs = some_pairs()
    run = jax.jit(lambda seed: model.apply(variables, pairs, train=True, rngs={"dropout": jax.random.key(seed)}))
    assert np.abs(run(0) - run(1)).max() > 1e-3
    jax.eval_shape(partial(model.apply, train=False), variables, pairs)  # would fail if it drew anything


def test_the_gradient_lowers_for_accelerators():
    model = Seq2Seq(6, 4, hidden=6, embedding=3, dropout=0.1, dtype=jnp.bfloat16)
    pairs = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, jnp.int32), some_pairs())

    def loss(params, pairs, key):
        rngs = {"dropout": key, "sampling": key}
        return model.apply(params, pairs, sampling=0.1, train=True, rngs=rngs).astype(jnp.float32).sum()

    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(jax.grad(loss)), platforms=("cuda", "tpu"))
    assert exported(abstract_variables(model), pairs, key).platforms == ("cuda", "tpu")


@pytest.mark.parametrize(("fields", "message"), [
    ({"cell": "rnn"}, "cell must be one of lstm, gru, got 'rnn'"),
    ({"attention": "general"}, "attention must be one of none, additive, multiplicative, dot, got 'general'"),
    ({"hidden": 5}, "hidden must be even, half of it for each direction of the encoder, got 5"),
])  # fmt: skip
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        jv.init(Seq2Seq(6, 4, **fields), jax.random.key(0))


@pytest.mark.parametrize(("changed", "message"), [
    ({"lengths": np.ones(2, int)}, r"source and lengths must be \[B, S\] and \[B\], got \(3, 7\) and \(2,\)"),
    ({"target": np.zeros((2, 5), int)}, r"target must be \[B, T\], as many as the sources .*, got \(2, 5\)"),
])  # fmt: skip
def test_shapes_that_do_not_fit(changed, message):
    model, variables = drawn()
    with pytest.raises(ValueError, match=message):
        model.apply(variables, some_pairs()._replace(**changed), train=False)
