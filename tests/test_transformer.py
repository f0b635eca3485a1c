"""Sequence Transformers against PyTorch's and transformers', and against what follows from their definitions."""

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
from jaxvision.layers.attention import MultiHeadAttention
from jaxvision.layers.embedding import sine_cosine_1d
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.pairs import Pairs
from jaxvision.layers.transformer import Encoder, EncoderBlock, Mlp
from jaxvision.ops.decoding import beam_search
from jaxvision.transformer import gpt, transformer
from jaxvision.transformer.gpt import GPT
from jaxvision.transformer.transformer import Transformer, attention_maps
from jaxvision.weights import WeightsError, from_foreign, to_foreign
from tests.reference import sequence_cases as cases
from tests.reference.descent import MOMENTUM, RATE
from tests.reference.stored import FOLDER, disagreements, read
from train.shared import mesh as mesh_module
from train.shared.feed import ShuffledOrder, resident
from train.shared.mesh import make_mesh
from train.shared.state import create_state
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def logits_of(model, variables, given, **options):
    found = model.apply(variables, given, **{"train": False, **options})
    return found[0] if isinstance(model, GPT) else found


def loaded(case, dtype):
    """Our model of a case, the stored results, and the weights that they are of."""
    model, stored = cases.model(case, dtype), read(FOLDER / cases.file_name(case))
    weights = cases.weights(case, stored.shapes)
    return model, stored, weights, from_foreign(model, weights, cases.layout(case), dtype=dtype)


IN_SLOW_SET = "marian, two vocabularies"


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case == IN_SLOW_SET)) for case in cases.CASES]
)
def test_outputs_gradients_and_steps_are_those_of_pytorch(case):
    with jax.enable_x64(True):
        model, stored, weights, variables = loaded(case, jnp.float64)
        optimizer = optax.sgd(RATE, MOMENTUM)
        after = cases.target(case)[:, 1:]

        def loss_fn(variables):
            logits = logits_of(model, variables, cases.given(case))
            return optax.softmax_cross_entropy_with_integer_labels(logits, after).sum(), logits

        @jax.jit
        def step(variables, state):
            (loss, logits), gradients = jax.value_and_grad(loss_fn, has_aux=True)(variables)
            updates, state = optimizer.update(gradients, state)
            return loss, logits, gradients, optax.apply_updates(variables, updates), state

        loss, logits, gradients, new, state = step(variables, optimizer.init(variables))
        new = step(new, state)[3]
        foreign = partial(to_foreign, model, layout=cases.layout(case), dtype=np.float64)
        found, after_two, again = (foreign(tree) for tree in (gradients, new, variables))
    assert_close(logits, stored.logits)
    tensors = {"logits": logits, "loss": loss} | {f"gradient of {name}": found[name] for name in weights}
    tensors |= {f"{name} after two steps": after_two[name] for name in weights}
    assert not disagreements(tensors, stored.fingerprints, 1e-8)
    for name, weight in weights.items():
        np.testing.assert_array_equal(again[name], weight)
    assert stored.count == sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("case", ["norm last", "gpt2"])
def test_outputs_of_float32(case):
    model, stored, _, variables = loaded(case, jnp.float32)
    logits = jax.jit(partial(logits_of, model))(variables, cases.given(case))
    assert logits.dtype == jnp.float32
    assert_close(logits, stored.logits, 1e-4)


def test_published_files_of_gpt2_hold_masks_and_names_without_a_prefix():
    model, _, weights, variables = loaded("gpt2", jnp.float32)
    named = {name.removeprefix("transformer."): np.float32(array) for name, array in weights.items()}
    masks = {f"h.{i}.attn.bias": np.tril(np.ones((1, 1, 9, 9), np.float32)) for i in range(2)}
    jax.tree.map(np.testing.assert_array_equal, from_foreign(model, named | masks), variables)
    with pytest.raises(WeightsError, match=r"unused \(1\):\s+h.2.attn.bias"):
        from_foreign(model, named | masks | {"h.2.attn.bias": masks["h.0.attn.bias"]})


def test_tables_that_are_held_twice_must_be_the_same():
    model, _, weights, variables = loaded("marian", jnp.float32)
    foreign = to_foreign(model, variables, "transformers")
    for copy in ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"):
        np.testing.assert_array_equal(foreign[copy], np.float32(weights["model.shared.weight"]))
    jax.tree.map(np.testing.assert_array_equal, from_foreign(model, foreign), variables)
    expected = r"not a copy \(1\):\s+lm_head.weight: expected the array of model.shared.weight, found another"
    with pytest.raises(WeightsError, match=expected):
        from_foreign(model, foreign | {"lm_head.weight": foreign["lm_head.weight"] + 1})
    positions = foreign["model.encoder.embed_positions.weight"]
    with pytest.raises(WeightsError, match=r"of another architecture \(1\):\s+model.decoder.embed_positions.weight"):
        from_foreign(model, foreign | {"model.decoder.embed_positions.weight": positions[:, ::-1]})


@pytest.mark.parametrize(("make", "count"), [
    (partial(transformer.base, 37_000, 37_000), 63_082_496),  # the paper has 65 and 213 million, in its rounding
    (partial(transformer.big, 37_000, 37_000), 214_245_376),
    (gpt.gpt2, 124_439_808),  # as the published
    (gpt.gpt2_medium, 354_823_168),
    (gpt.gpt2_large, 774_030_080),
    (gpt.gpt2_xl, 1_557_611_200),
], ids=["base", "big", "gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl"])  # fmt: skip
def test_parameters_are_as_many_as_in_the_papers(make, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract_variables(make()))) == count


def drawn(**fields):
    """A translator whose logits are far apart, and its parameters."""
    sizes = {"dim": 8, "depth": 1, "num_heads": 2, "hidden": 8, "max_length": 8, "dropout_rate": 0.0}
    model = Transformer(6, 4, **{**sizes, "shared": "target", **fields})
    return model, jax.tree.map(lambda leaf: 2 * leaf, jv.init(model.clone(dtype=jnp.float32), jax.random.key(0)))


def some_pairs(steps=5):
    return Pairs(RANDOM.randint(0, 6, (3, 7)), np.array([7, 4, 2]), RANDOM.randint(0, 4, (3, steps)))


def test_padding_changes_nothing():
    model, variables = drawn(dtype=jnp.float64)
    pairs = some_pairs()
    hidden = np.arange(7) >= pairs.lengths[:, None]
    changed = pairs._replace(source=np.where(hidden, (pairs.source + 1) % 6, pairs.source))
    longer = Pairs(np.pad(pairs.source, ((0, 0), (0, 1))), pairs.lengths, np.pad(pairs.target, ((0, 0), (0, 2))))
    with jax.enable_x64(True):
        run = jax.jit(partial(model.apply, train=False))
        logits = run(variables, pairs)
        assert_close(run(variables, changed), logits)
        assert_close(run(variables, longer)[:, :5], logits)


def test_a_source_of_no_tokens_leaves_finite_gradients():
    model, variables = drawn()
    pairs = some_pairs()._replace(lengths=np.zeros(3, int))
    gradients = jax.jit(jax.grad(lambda variables: model.apply(variables, pairs, train=False).sum()))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_steps_give_what_the_whole_target_does():
    """Of two rows to a sentence, which look at one memory."""
    model, variables = drawn(norm_first=True, final_norm=True)
    pairs = some_pairs()
    targets = np.stack([pairs.target, (pairs.target + 1) % 4], 1)  # [B, K, T]

    @jax.jit
    def run(variables):
        rows = Pairs(np.repeat(pairs.source, 2, 0), np.repeat(pairs.lengths, 2), targets.reshape(6, -1))
        whole = model.apply(variables, rows, train=False)
        memory, state = model.apply(variables, pairs.source, pairs.lengths, train=False, method="encode")
        state = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, 0), state)

        def step(state, tokens):
            logits, state = model.apply(variables, tokens, state, memory, method="step")
            return state, logits

        tokens = np.concatenate([targets, np.zeros((3, 2, 4), int)], -1)  # one more than there is room for
        _, logits = jax.lax.scan(step, state, tokens.reshape(6, -1).T)
        return whole, logits.swapaxes(0, 1)

    expected, found = run(variables)
    assert_close(found[:, :5], expected, 1e-5)
    assert np.isfinite(found[:, :8]).all()
    assert np.isnan(found[:, 8]).all()


def test_scheduled_sampling_replaces_tokens_by_what_the_model_says():
    model, variables = drawn()
    many = lambda array: np.repeat(array[:1], 4000, 0)
    pairs = jax.tree.map(many, some_pairs(steps=2))
    sample = jax.jit(lambda sampling: model.apply(
        variables, pairs, sampling=sampling, train=True, rngs={"sampling": jax.random.key(0)}
    ))  # fmt: skip
    run = jax.jit(partial(model.apply, train=True))
    after = [run(variables, pairs._replace(target=pairs.target * [1, 0] + [0, token]))[0] for token in range(4)]
    assert_close(sample(0.0), many(after[pairs.target[0, 1]][None]), 1e-5)
    sampled = sample(0.5)
    came_of = np.array([np.abs(sampled[:, 1] - logits[1]).max(-1) < 1e-4 for logits in after])
    assert (came_of.sum(0) == 1).all()
    expected = 0.5 * np.asarray(jax.nn.softmax(after[0][0])) + 0.5 * np.eye(4)[pairs.target[0, 1]]
    np.testing.assert_allclose(came_of.mean(1), expected, atol=4 * 0.5 / 4000**0.5)


def test_with_beams_enough_the_search_of_the_model_is_exhaustive():
    length, end, alpha = 3, 0, 0.8
    model, variables = drawn()
    source, lengths = RANDOM.randint(0, 6, (2, 5)), np.array([5, 3])
    first = np.array([1, 2], np.int32)
    written = [(*beginning, end) for n in range(length) for beginning in itertools.product((1, 2, 3), repeat=n)] + list(
        itertools.product((1, 2, 3), repeat=length)
    )
    padded = np.array([[*tokens, *[end] * (length - len(tokens))] for tokens in written])

    @jax.jit
    def search(variables):
        memory, state = model.apply(variables, source, lengths, train=False, method="encode")
        step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
        return beam_search(step, state, first, beams=30, max_length=length, end=end, length_penalty=alpha)

    found = search(variables)
    force = jax.jit(partial(model.apply, train=False))
    for row in range(2):
        many = lambda array: np.repeat(array[row : row + 1], len(written), 0)  # noqa: B023
        before = np.concatenate([many(first)[:, None], padded[:, :-1]], 1)
        logits = force(variables, Pairs(many(source), many(lengths), before))
        logs = np.take_along_axis(log_softmax(np.float64(logits), -1), padded[..., None], -1)[..., 0]
        scores = [logs[n, : len(tokens)].sum() / ((5 + len(tokens)) / 6) ** alpha for n, tokens in enumerate(written)]
        for rank, best in enumerate(np.argsort(scores)[::-1][:20]):
            assert tuple(found.tokens[row, rank, : found.lengths[row, rank]].tolist()) == written[best]
            np.testing.assert_allclose(found.scores[row, rank], scores[best], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative"])
def test_a_text_that_is_gone_on_with_is_the_whole(positions):
    depth = 1 + (positions == "rotary")
    model = GPT(7, dim=8, depth=depth, num_heads=2, max_length=6, positions=positions)
    variables = jax.tree.map(lambda leaf: 5 * leaf, jv.init(model, jax.random.key(0)))
    tokens = RANDOM.randint(0, 7, (2, 6))

    @jax.jit
    def run(variables):
        whole, nothing = model.apply(variables, tokens, train=False)
        assert nothing is None
        state, parts = model.initial_state(2), []
        for part in np.split(np.pad(tokens, ((0, 0), (0, 1))), [5, 6], 1):
            logits, state = model.apply(variables, part, state, train=False)
            parts.append(logits)
        return whole, jnp.concatenate(parts, 1)

    expected, found = run(variables)
    assert np.asarray(expected).std() > 0.1
    assert_close(found[:, :6], expected, 1e-5)
    assert np.isnan(found[:, 6]).all()


def test_maps_of_attention():
    model, variables = drawn(depth=2)
    pairs = some_pairs()

    @jax.jit
    def run(variables):
        align = partial(model.apply, variables, pairs, train=False, method="align")
        return attention_maps(model, variables, pairs), model.apply(variables, pairs, train=False), *align()

    maps, expected, logits, shares = run(variables)
    hidden = np.arange(7) >= pairs.lengths[:, None]
    shapes = {"encoder": (3, 2, 2, 7, 7), "decoder": (3, 2, 2, 5, 5), "decoder_source": (3, 2, 2, 5, 7)}
    assert {name: found.shape for name, found in maps.items()} == shapes
    for name in ("encoder", "decoder_source"):
        assert not np.asarray(maps[name])[np.broadcast_to(hidden[:, None, None, None], shapes[name])].any()
    assert not np.triu(maps["decoder"], 1).any()
    for found in maps.values():
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert_close(logits, expected, 1e-5)
    assert_close(shares, np.asarray(maps["decoder_source"])[:, 1], 1e-6)


def train_step_of(model, dropout):
    def loss_fn(params, model_state, pairs, rng, step):
        del step
        before = pairs._replace(target=pairs.target[:, :-1])
        logits = model.apply({"params": params}, before, train=True, rngs={"dropout": rng} if dropout else None)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), pairs.target[:, 1:])
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {})

    return make_train_step(loss_fn, optax.sgd(0.1, momentum=0.9))


def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    with jax.enable_x64(True):
        model, variables = drawn(dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        pairs = Pairs(RANDOM.randint(0, 6, (16, 5)), RANDOM.randint(1, 6, 16), RANDOM.randint(0, 4, (16, 4)))

        def end(mesh):
            state = create_state(variables, optax.sgd(0.1, momentum=0.9), jax.random.key(0))
            advance, state = resident(train_step_of(model, False), pairs, ShuffledOrder(16, 8, 0), state, mesh)
            return jax.device_get(advance(state, 0, 3))

        one, eight = (end(make_mesh(n, fsdp)) for n, fsdp in ((1, 1), (8, 2)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), eight, one)  # the loss is of float32


def test_training_and_writing_lower_for_accelerators():
    model = Transformer(6, 4, dim=8, depth=1, num_heads=2, hidden=8, max_length=8, shared="target", remat=True)
    model = model.clone(scan=True, attention_dropout_rate=0.1, dtype=jnp.bfloat16)
    variables = abstract_variables(model)
    pairs = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, jnp.int32), some_pairs())
    make_state = lambda variables: create_state(variables, optax.sgd(0.1, momentum=0.9), jax.random.key(0))
    state = jax.eval_shape(make_state, variables)

    def write(variables, pairs):
        memory, state = model.apply(variables, pairs.source, pairs.lengths, train=False, method="encode")
        step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
        return beam_search(step, state, pairs.source[:, 0], beams=2, max_length=4, end=0)

    for function, arguments in ((train_step_of(model, True), (state, pairs)), (write, (variables, pairs))):
        exported = export.export(jax.jit(function), platforms=("cuda", "tpu"))(*arguments)
        assert exported.platforms == ("cuda", "tpu")


def test_blocks_may_be_steps_of_a_loop():
    model, variables = drawn(depth=2, dtype=jnp.float64)
    pairs = some_pairs()
    with jax.enable_x64(True):
        run = jax.jit(lambda variables, model: model.apply(variables, pairs, train=False), static_argnums=1)
        assert_close(run(variables, model.clone(scan=True, remat=True)), run(variables, model))


@pytest.mark.parametrize("kind", ["translator", "language model"])
def test_a_loop_of_blocks_is_compiled_once(kind):
    def products(depth, scan):
        fields, tokens = (
            {"dim": 8, "depth": depth, "num_heads": 2, "max_length": 8, "scan": scan},
            jnp.zeros((2, 5), int),
        )
        model = GPT(4, **fields) if kind == "language model" else Transformer(4, 4, hidden=8, **fields)
        given = tokens if kind == "language model" else Pairs(tokens, jnp.full(2, 5), tokens)
        run = lambda variables: logits_of(model, variables, given)
        return str(jax.make_jaxpr(run)(abstract_variables(model))).count("dot_general[")

    assert products(5, True) == products(1, True) == products(1, False)
    assert products(5, False) > 4 * products(5, True)


def test_blocks_may_be_computed_anew():
    """Seen in the program: the backward pass holds the activation once more."""
    model = GPT(4, dim=8, depth=1, num_heads=2, max_length=5, dropout_rate=0.0)
    variables, tokens = abstract_variables(model), jnp.zeros((2, 5), int)
    loss = lambda model: lambda variables: model.apply(variables, tokens, train=False)[0].sum()
    tanhs = [str(jax.make_jaxpr(jax.grad(loss(model.clone(remat=remat))))(variables)).count("tanh") for remat in (0, 1)]
    assert tanhs == [1, 2]


def test_dropout_is_of_training_alone():
    model, variables = drawn(dropout_rate=0.5, scan=True)
    pairs = some_pairs()
    run = jax.jit(lambda seed: model.apply(variables, pairs, train=True, rngs={"dropout": jax.random.key(seed)}))
    assert np.abs(run(0) - run(1)).max() > 1e-3
    jax.eval_shape(partial(model.apply, train=False), variables, pairs)  # would fail if it drew anything


def test_without_positions_a_transformer_knows_no_order():
    """What is permuted comes out permuted, and its mean is the same; with positions it is neither."""
    parts = partial(MultiHeadAttention, 2), partial(Mlp, 8), layer_norm
    encoder = Encoder(2, partial(EncoderBlock, *parts), layer_norm)
    x, order = jnp.asarray(RANDOM.randn(1, 6, 8), jnp.float32), RANDOM.permutation(6)
    variables = jax.jit(partial(encoder.init, train=False))(jax.random.key(0), x)
    run = jax.jit(partial(encoder.apply, variables, train=False))
    assert_close(run(x[:, order]), np.asarray(run(x))[:, order], 1e-5)
    assert_close(run(x[:, order]).mean(1), run(x).mean(1), 1e-5)
    positions = jnp.asarray(sine_cosine_1d(6, 8), jnp.float32)
    assert np.abs(run(x[:, order] + positions).mean(1) - run(x + positions).mean(1)).max() > 1e-2


def test_sines_are_added_to_embeddings_of_their_size():
    model = GPT(7, dim=8, depth=1, num_heads=2, max_length=6, positions="sine_cosine")
    params = jv.init(model, jax.random.key(0))["params"]
    params["decoder"]["block1"] = jax.tree.map(jnp.zeros_like, params["decoder"]["block1"])  # which adds nothing then
    table = np.float64(params["embed"]["embedding"])
    x = 8**0.5 * table[[3, 1, 4]] + sine_cosine_1d(3, 8)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert_close(model.apply({"params": params}, jnp.array([[3, 1, 4]]), train=False)[0][0], x @ table.T, 1e-5)


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_what_a_block_of_a_language_model_knows_of_order(positions):
    model = GPT(7, dim=8, depth=1, num_heads=2, max_length=6, positions=positions)
    variables = jax.tree.map(lambda leaf: 10 * leaf, jv.init(model, jax.random.key(0)))
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [3, 5, 1, 2, 4, 6]])
    first, second = jax.jit(partial(model.apply, train=False))(variables, tokens)[0][:, -1]
    assert (np.abs(first - second).max() < 1e-5) == (positions == "none")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: drawn(shared="all"), 'shared="all" is for one vocabulary, got 6 and 4 tokens'),
    (lambda: drawn(shared="some"), "shared must be one of all, target, none, got 'some'"),
    (lambda: drawn(positions="rotary"), "positions must be one of sine_cosine, .*, got 'rotary'"),
    (lambda: drawn(num_heads=3), "num_heads=3 does not divide dim=8"),
    (lambda: drawn(num_heads=0), "num_heads must be 1 or more, got 0"),
    (lambda: drawn(dim=0), "dim must be 1 or more, got 0"),
    (lambda: drawn(depth=0), "depth must be 1 or more, got 0"),
    (lambda: drawn(hidden=0), "hidden must be 1 or more, got 0"),
    (lambda: drawn(hidden=8.5), "hidden must be a whole number, got 8.5"),
    (lambda: drawn(dropout_rate=1.0), "dropout_rate must be from 0 to below 1, got 1.0"),
    (lambda: drawn(attention_dropout_rate=-0.5), "attention_dropout_rate must be from 0 to below 1, got -0.5"),
    (lambda: jv.init(GPT(4, num_heads=0), jax.random.key(0)), "num_heads must be 1 or more, got 0"),
    (lambda: jv.init(GPT(4, dim=0), jax.random.key(0)), "dim must be 1 or more, got 0"),
    (lambda: jv.init(GPT(4, depth=0), jax.random.key(0)), "depth must be 1 or more, got 0"),
    (lambda: jv.init(GPT(4, dropout_rate=1.5), jax.random.key(0)), "dropout_rate must be from 0 to below 1, got 1.5"),
    (lambda: jv.init(GPT(4, attention_dropout_rate=1), jax.random.key(0)), "attention_dropout_rate must be from 0 to"),
    (lambda: jv.init(GPT(4, dim=8, num_heads=3), jax.random.key(0)), "num_heads=3 does not divide dim=8"),
    (lambda: jv.init(GPT(4, positions="fixed"), jax.random.key(0)), "must be one of learned, .*, got 'fixed'"),
    (lambda: jv.init(GPT(4, dim=8, num_heads=2, max_length=1), jax.random.key(0)), "2 tokens, more than max_length=1"),
])  # fmt: skip
def test_fields_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("changed", "message"), [
    ({"lengths": np.ones(2, int)}, r"source and lengths must be \[B, S\] and \[B\], got \(3, 7\) and \(2,\)"),
    ({"source": np.zeros((3, 0), int)}, r"the source must have room for one token or more, got \(3, 0\)"),
    ({"target": np.zeros((2, 5), int)}, r"target must be \[B, T\], as many as the sources .*, got \(2, 5\)"),
    ({"target": np.zeros((3, 9), int)}, "the target has 9 tokens, more than max_length=8"),
])  # fmt: skip
def test_shapes_that_do_not_fit(changed, message):
    model = Transformer(6, 4, dim=8, depth=1, num_heads=2, hidden=8, max_length=8, shared="target")
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), some_pairs()._replace(**changed), train=False))


@pytest.mark.parametrize(("shape", "rows", "message"), [
    ((6, 1), 6, r"tokens must be \[R\], one for each of the 6 rows of the state, .*; got \(6, 1\)"),
    ((3,), 6, r"one for each of the 6 rows of the state, .*; got \(3,\)"),
    ((4,), 4, r"4 rows of the state, of 3 sentences as many each; got \(4,\)"),
])  # fmt: skip
def test_steps_of_shapes_that_do_not_fit(shape, rows, message):
    model = Transformer(6, 4, dim=8, depth=1, num_heads=2, hidden=8, max_length=8, shared="target")

    def write(variables, pairs):
        memory, state = model.apply(variables, pairs.source, pairs.lengths, train=False, method="encode")
        state = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), state)
        return model.apply(variables, jnp.zeros(shape, int), state, memory, method="step")

    with pytest.raises(ValueError, match=message):
        jax.eval_shape(write, abstract_variables(model), some_pairs())


@pytest.mark.parametrize(("shape", "state_of", "message"), [
    ((5,), None, r"tokens must be \[B, T\], one token or more, got \(5,\)"),
    ((2, 0), None, r"tokens must be \[B, T\], one token or more, got \(2, 0\)"),
    ((2, 3), (1, 3), "the state must be of 1 blocks and 2 sequences, got 1 blocks and 3 sequences"),
    ((2, 3), (2, 2), "the state must be of 1 blocks and 2 sequences, got 2 blocks and 2 sequences"),
])  # fmt: skip
def test_texts_that_do_not_fit(shape, state_of, message):
    model = GPT(4, dim=8, depth=1, num_heads=2, max_length=5)
    state = state_of and model.clone(depth=state_of[0]).initial_state(state_of[1])
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape, int), state, train=False))
