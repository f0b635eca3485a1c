"""Attention and the block around it, against a loop in NumPy and the stored results of PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxvision.layers import attention
from jaxvision.layers.alignment import Alignment, Memory
from jaxvision.layers.attention import (
    KeysValues,
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    cudnn_can,
    dot_product_attention,
    padding_mask,
)
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.transformer import DecoderBlock, EncoderBlock, Mlp
from tests.reference import transformer_cases as cases
from tests.reference.stored import FOLDER

RANDOM = np.random.RandomState(0)
QUICK = {"xla_backend_optimization_level": 0}  # to compile
STORED = np.load(FOLDER / "transformer.npz")
QUERY = RANDOM.randn(2, 5, 3, 4)
KEY, VALUE = RANDOM.randn(2, 2, 7, 3, 4)
MASK = RANDOM.rand(2, 3, 5, 7) < 0.6
MASK[1, 2, 3] = False  # sees nothing
LAYERS = {"additive": ("key", "query", "score"), "multiplicative": ("key",), "dot": ()}


def loop(query, key, value, mask, bias=np.zeros((1, 1, 1, 1))):  # noqa: B008
    """Attention, a query of a head of an example at a time."""
    bias = np.broadcast_to(bias, mask.shape)
    attended = np.zeros_like(query)
    for b, t, h in np.ndindex(query.shape[:3]):
        seen = mask[b, h, t]
        scores = key[b, seen, h] @ query[b, t, h] / np.sqrt(query.shape[-1]) + bias[b, h, t, seen]
        if seen.any():
            weights = np.exp(scores - scores.max())
            attended[b, t, h] = weights @ value[b, seen, h] / weights.sum()
    return attended


@pytest.mark.parametrize("mask", [MASK, MASK[:, :1], None], ids=["of heads", "of all heads", "none"])
def test_attention_is_the_loop(mask):
    expected = loop(QUERY, KEY, VALUE, np.broadcast_to(True if mask is None else mask, MASK.shape))
    with jax.enable_x64(True):
        found = jax.jit(dot_product_attention)(QUERY, KEY, VALUE, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mask", [MASK[..., :5], None], ids=["masked", "not masked"])
def test_causal_attention_with_biases_is_the_loop(mask):
    bias, key, value = RANDOM.randn(1, 3, 5, 5), KEY[:, :5], VALUE[:, :5]
    before = np.broadcast_to(np.arange(5) <= np.arange(5)[:, None], (2, 3, 5, 5))
    expected = loop(QUERY, key, value, before if mask is None else before & mask, bias)
    with jax.enable_x64(True):
        run = jax.jit(lambda query: dot_product_attention(query, key, value, mask, bias=bias, causal=True))
        found = run(QUERY)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_query_that_sees_nothing_gets_zeros_and_leaves_no_gradient():
    tensors = [jnp.asarray(x, jnp.float32) for x in (QUERY, KEY, VALUE)]
    run = lambda query, key, value: dot_product_attention(query, key, value, jnp.asarray(MASK))
    pull = jax.jit(lambda tangent: (run(*tensors), jax.vjp(run, *tensors)[1](tangent)))
    everywhere = np.ones(QUERY.shape, np.float32)
    attended, gradients = jax.device_get(pull(everywhere))
    assert not attended[1, 3, 2].any()
    assert np.count_nonzero(attended.any(-1)) == 2 * 5 * 3 - 1
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not gradients[0][1, 3, 2].any()
    there = np.zeros_like(everywhere)
    there[1, 3, 2] = 1
    assert not any(gradient.any() for gradient in jax.device_get(pull(there))[1])


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_a_bias_of_minus_infinity_is_a_mask_that_leaves_finite_gradients(implementation):
    finite = RANDOM.randn(*MASK.shape)
    bias, pulled = np.where(MASK, finite, -np.inf), RANDOM.randn(*QUERY.shape)

    @jax.jit
    def run(*arrays, mask=None):
        attend = lambda *x: dot_product_attention(*x[:3], mask, bias=x[3], implementation=implementation)
        output, pull = jax.vjp(attend, *arrays)
        return output, pull(pulled)

    with jax.enable_x64(True):
        found, gradients = run(QUERY, KEY, VALUE, bias)
        both, of_both = run(QUERY, KEY, VALUE, bias, mask=np.arange(7) < np.full((2, 1, 1, 1), 7))
        _, expected = run(QUERY, KEY, VALUE, finite, mask=MASK)
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
    close(found, loop(QUERY, KEY, VALUE, MASK, finite))
    close(both, found)
    for one in (gradients, of_both):
        jax.tree.map(close, one, expected)


def test_scores_too_large_for_an_exponential():
    weights = np.asarray(jax.jit(attention_weights)(np.float32(1e4 * QUERY), np.float32(KEY), MASK))
    np.testing.assert_allclose(weights.sum(-1), MASK.any(-1), rtol=1e-6)


def test_masks():
    assert causal_mask(3)[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert padding_mask(jnp.array([2, 0]), 3)[:, 0, 0].tolist() == [[True, True, False], [False] * 3]


def test_weights_of_bfloat16_are_softmax_of_float32():
    query, key = ((4 * x).astype(jnp.bfloat16) for x in (QUERY, KEY))
    weights, expected = (jax.jit(attention_weights)(query.astype(t), key.astype(t)) for t in (query.dtype, np.float32))
    assert weights.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(weights), expected, rtol=2.0**-8, atol=1e-7)


def our_names(params):
    """Our parameters from PyTorch's: of attention, and of a block."""
    layers = {"in_proj": "qkv", "out_proj": "projection", "linear1": "mlp/linear1", "linear2": "mlp/linear2"}
    flat = {}
    for key, value in params.items():
        *outer, layer, leaf = key.replace("self_attn", "attention").replace("in_proj_", "in_proj.").split(".")
        leaf = {"bias": "bias", "weight": "kernel" if value.ndim == 2 else "scale"}[leaf]
        flat[*outer, *layers.get(layer, layer).split("/"), leaf] = value.T
    return unflatten_dict(flat)


def parts_of(case, prefix=""):
    """The stored arrays of a case whose names begin with a prefix, by what follows."""
    start = f"{case}: {prefix}"
    return {name.removeprefix(start): STORED[name] for name in STORED.files if name.startswith(start)}


def assert_equals_pytorch(case, layer, inputs, **options):
    expected = our_names({k: v for k, v in parts_of(case, "gradient of ").items() if not k.startswith("input")})
    shapes = {k: v.shape for k, v in parts_of(case, "gradient of ").items() if not k.startswith("input")}
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, our_names(cases.weights(shapes)))
        run = lambda params, *inputs: layer.apply({"params": params}, *inputs, train=True, **options)

        @partial(jax.jit, compiler_options=QUICK)
        def with_gradients(*arguments):
            output, pull = jax.vjp(run, *arguments)
            return output, pull(2 * output)

        output, (gradient, *of_inputs) = with_gradients(params, *inputs)
    close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)
    close(output, STORED[f"{case}: output"])
    jax.tree.map(close, gradient, expected)
    for n, found in enumerate(of_inputs):
        close(found, STORED[f"{case}: gradient of input {n}"])


@pytest.mark.parametrize("case", cases.ATTENTION)
def test_multi_head_attention_is_pytorchs(case):
    x, y = cases.array("x", cases.BATCH, cases.QUERIES, cases.DIM), cases.array("y", cases.BATCH, cases.KEYS, cases.DIM)
    mask = padding_mask(jnp.array(cases.LENGTHS), cases.KEYS)
    mask = mask & causal_mask(cases.KEYS) if "causal" in case else mask
    layer = MultiHeadAttention(cases.HEADS, dtype=jnp.float64)
    assert_equals_pytorch(case, layer, (x, y) if case == "cross" else (y,), mask=mask)


@pytest.mark.parametrize("case", cases.ENCODERS)
def test_encoder_block_is_pytorchs(case):
    block = EncoderBlock(
        attention=partial(MultiHeadAttention, cases.HEADS, dtype=jnp.float64),
        mlp=partial(Mlp, cases.HIDDEN, dtype=jnp.float64),
        norm=partial(layer_norm, dtype=jnp.float64),
        norm_first=cases.ENCODERS[case],
    )
    mask = padding_mask(jnp.array(cases.LENGTHS), cases.KEYS)
    assert_equals_pytorch(case, block, (cases.array("y", cases.BATCH, cases.KEYS, cases.DIM),), mask=mask)


def test_what_a_layer_remembers_answers_as_the_sequence_does():
    x, y = cases.array("x", cases.BATCH, cases.QUERIES, cases.DIM), cases.array("y", cases.BATCH, cases.KEYS, cases.DIM)
    mask = padding_mask(jnp.array(cases.LENGTHS), cases.KEYS)
    with jax.enable_x64(True):
        layer = MultiHeadAttention(cases.HEADS, dtype=jnp.float64)

        @partial(jax.jit, compiler_options=QUICK)
        def run():
            expected, variables = layer.init_with_output(jax.random.key(0), x, y, mask=mask, train=False)
            memory = layer.apply(variables, y, method="remember")
            return layer.apply(variables, x, memory, mask=mask, train=False, method="recall"), expected

        np.testing.assert_allclose(*run(), rtol=1e-12)


def test_a_bias_hides_keys_of_another_sequence_as_a_mask_does():
    x, y = cases.array("x", cases.BATCH, cases.QUERIES, cases.DIM), cases.array("y", cases.BATCH, cases.KEYS, cases.DIM)
    mask = padding_mask(jnp.array(cases.LENGTHS), cases.KEYS)
    layer = MultiHeadAttention(cases.HEADS)

    @partial(jax.jit, compiler_options=QUICK)
    def run():
        expected, variables = layer.init_with_output(jax.random.key(0), x, y, mask=mask, train=False)
        return layer.apply(variables, x, y, bias=jnp.where(mask, 0.0, -1e9), train=False), expected

    np.testing.assert_allclose(*run(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_sequence_that_is_gone_on_with_is_the_whole(rotary):
    """In parts of 3, 1 and 3 tokens, with room for more, whatever is in that."""
    x = cases.array("y", cases.BATCH, cases.KEYS, cases.DIM)
    with jax.enable_x64(True):
        layer = MultiHeadAttention(cases.HEADS, causal=True, rotary=rotary, dtype=jnp.float64)

        @partial(jax.jit, compiler_options=QUICK)
        def run():
            expected, variables = layer.init_with_output(jax.random.key(0), x, train=False)
            room = jnp.full((cases.BATCH, 9, cases.HEADS, cases.DIM // cases.HEADS), 100.0)
            cache, first, parts = KeysValues(room, room), 0, []
            for part in np.split(x, [3, 4], 1):
                output, cache = layer.apply(variables, part, cache, first, train=False, method="extend")
                parts.append(output)
                first += part.shape[1]
            return jnp.concatenate(parts, 1), expected, cache

        found, expected, cache = run()
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        assert (cache.keys[:, 7:] == 100).all()


def test_a_decoder_block_without_a_memory_is_an_encoder_block_that_looks_back():
    x = cases.array("y", cases.BATCH, cases.KEYS, cases.DIM)
    with jax.enable_x64(True):
        attention = partial(MultiHeadAttention, cases.HEADS, dtype=jnp.float64)
        parts = partial(Mlp, cases.HIDDEN, dtype=jnp.float64), partial(layer_norm, dtype=jnp.float64)
        encoder, decoder = EncoderBlock(attention, *parts), DecoderBlock(partial(attention, causal=True), *parts)

        @partial(jax.jit, compiler_options=QUICK)
        def run():
            found, variables = decoder.init_with_output(jax.random.key(0), x, train=False)
            return found, encoder.apply(variables, x, mask=causal_mask(cases.KEYS), train=False)

        np.testing.assert_allclose(*run(), rtol=1e-10)


def test_a_decoder_block_needs_the_memory_that_it_looks_at():
    attention = partial(MultiHeadAttention, cases.HEADS)
    parts = partial(Mlp, cases.HIDDEN), layer_norm
    block = DecoderBlock(partial(attention, causal=True), *parts, cross_attention=attention)
    with pytest.raises(ValueError, match="cross_attention looks at another sequence: memory must be given"):
        jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.zeros((2, 3, cases.DIM)), train=False))


@pytest.fixture(scope="module")
def drawn():
    layer = MultiHeadAttention(3, dropout_rate=0.5)
    x = jnp.asarray(RANDOM.randn(2, 7, 12), jnp.float32)
    return layer, jax.jit(partial(layer.init, train=False), compiler_options=QUICK)(jax.random.key(0), x), x


def test_dropout_of_weights_can_be_drawn_again(drawn):
    layer, variables, x = drawn
    run = lambda key: layer.apply(variables, x, train=True, rngs={"dropout": key})
    first, second = jax.random.split(jax.random.key(0), (2, 300))
    many = jax.jit(jax.vmap(run), compiler_options=QUICK)
    results = np.asarray(many(first))
    np.testing.assert_array_equal(results, many(first))
    assert np.abs(results - many(second)).max(axis=(1, 2, 3)).min() > 0.01
    kept = np.asarray(jax.jit(partial(layer.apply, train=False), compiler_options=QUICK)(variables, x))
    np.testing.assert_allclose(results.mean(0), kept, atol=5 * results.std(0).max() / np.sqrt(300))


def test_weights_are_shown_to_those_who_ask(drawn):
    layer, variables, x = drawn
    assert set(variables) == {"params"}
    output, shown = jax.jit(partial(layer.apply, train=False, mutable=["intermediates"]))(variables, x)
    (weights,) = shown["intermediates"]["weights"]
    assert weights.shape == (2, 3, 7, 7)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(output, jax.jit(partial(layer.apply, train=False))(variables, x), rtol=1e-5, atol=1e-6)


def test_parameters_are_drawn_as_told():
    layer = MultiHeadAttention(2, qkv_init=jax.nn.initializers.constant(2), bias_init=jax.nn.initializers.ones)
    init = jax.jit(partial(layer.init, train=False))
    params = flatten_dict(init(jax.random.key(0), jnp.zeros((1, 2, 8)))["params"])
    assert (params["qkv", "kernel"] == 2).all()
    assert (params["projection", "bias"] == 1).all()
    assert 0 < np.abs(params["projection", "kernel"]).max() <= np.sqrt(6 / 16)


@pytest.mark.parametrize(
    ("dtype", "dim", "mask", "can"),
    [
        (jnp.bfloat16, 64, None, True),
        (jnp.float16, 80, None, True),
        (jnp.float32, 64, None, False),
        (jnp.bfloat16, 36, None, False),
        (jnp.bfloat16, 256, None, False),
        (jnp.bfloat16, 64, MASK, False),
    ],
)
def test_what_cudnn_can(dtype, dim, mask, can):
    assert cudnn_can(jnp.zeros((2, 5, 3, dim), dtype), mask) == can


def test_on_a_gpu_cudnn_is_chosen_for_what_it_can(monkeypatch):
    """As far as a CPU can tell: its lowering for other platforms stays what it was."""
    calls = []

    def by_cudnn(query, key, value, *, mask, bias, causal):
        assert mask is bias is None
        calls.append((query.dtype, causal))
        return jnp.zeros_like(query)

    monkeypatch.setattr(attention, "_by_cudnn", by_cudnn)
    monkeypatch.setattr(attention, "get_backend", lambda: type("", (), {"platform_version": "cuda 13000"}))
    for dtype, causal in ((jnp.bfloat16, False), (jnp.bfloat16, True), (jnp.float32, True)):
        query, key, value = (np.repeat(x[:, :5], 2, -1).astype(dtype) for x in (QUERY, KEY, VALUE))
        run = partial(dot_product_attention, causal=causal)
        expected = jax.jit(partial(run, implementation="xla"))(query, key, value)
        found = jax.jit(run)(query, key, value)
        np.testing.assert_allclose(*map(np.float32, (found, expected)), rtol=2.0**-8, atol=1e-6)
    assert set(calls) == {(jnp.dtype(jnp.bfloat16), causal) for causal in (False, True)}


@pytest.mark.parametrize(
    ("fields", "inputs", "options", "error", "message"),
    [
        ({"num_heads": 5}, [(2, 3, 12)], {}, ValueError, "num_heads=5 does not divide the dimension 12"),
        ({"num_heads": 0}, [(2, 3, 12)], {}, ValueError, "num_heads must be 1 or more, got 0"),
        ({"dropout_rate": 1.0}, [(2, 3, 12)], {}, ValueError, "dropout_rate must be from 0 to below 1, got 1.0"),
        ({}, [(2, 1, 3, 12)], {}, ValueError, r"sequences must be \[B, N, D\], got \(2, 1, 3, 12\)"),
        ({}, [(2, 3, 12), (2, 1, 3, 12)], {}, ValueError, r"sequences must be \[B, N, D\], got \(2, 1, 3, 12\)"),
        ({}, [(2, 12)], {}, ValueError, r"sequences must be \[B, N, D\], got \(2, 12\)"),
        ({}, [(2, 3, 12), (2, 3, 8)], {}, ValueError, r"one dimension, got \(2, 3, 12\) and \(2, 3, 8\)"),
        ({"implementation": "flash"}, [(2, 3, 12)], {}, ValueError, "must be xla, chunked, cudnn or None, got 'flash'"),
        ({}, [(2, 3, 12)], {"mask": jnp.ones((2, 1, 3, 3))}, TypeError, r"must be of bool.*got float32 \(2, 1, 3, 3\)"),
        ({}, [(2, 3, 12)], {"mask": jnp.ones((2, 3), bool)}, TypeError, r"\[B, H, T, S\].*got bool \(2, 3\)"),
        ({"causal": True}, [(2, 3, 12), (2, 4, 12)], {}, ValueError, "causal and rotary attention are of one"),
        ({"implementation": "cudnn", "dropout_rate": 0.1}, [(2, 3, 12)], {}, ValueError, 'drops no weights.*use "xla"'),
        (
            {"implementation": "chunked", "dropout_rate": 0.1},
            [(2, 3, 12)],
            {},
            ValueError,
            '"chunked" drops no weights',
        ),
        (
            {"implementation": "chunked"},
            [(2, 3, 12)],
            {"mask": MASK},
            ValueError,
            r"here \[2, 3, 3, 3\], or 1 in place",
        ),
    ],
)
def test_errors(fields, inputs, options, error, message):
    layer = MultiHeadAttention(**{"num_heads": 3, **fields})
    with pytest.raises(error, match=message):
        jax.eval_shape(
            lambda: layer.init(jax.random.key(0), *map(jnp.zeros, inputs), train=True, **options),
        )


@pytest.mark.parametrize("implementation", ["xla", "chunked", "cudnn", None])
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"value": VALUE[:, :5]}, ValueError, r"\(2, 5, 3, 4\), \(2, 7, 3, 4\) and \(2, 5, 3, 4\)"),
        ({"key": KEY[:, :5]}, ValueError, r"\[B, S, H, d\], got \(2, 5, 3, 4\), \(2, 5, 3, 4\) and \(2, 7, 3, 4\)"),
        ({"key": KEY[..., :1, :], "value": VALUE[..., :1, :]}, ValueError, r"got .*\(2, 7, 1, 4\) and"),
        ({"query": QUERY[:1]}, ValueError, r"query must be \[B, T, H, d\], .*, got \(1, 5, 3, 4\)"),
        ({"query": QUERY[0]}, ValueError, r"query must be \[B, T, H, d\], .*, got \(5, 3, 4\)"),
        ({"mask": MASK[..., :5]}, ValueError, r"mask must be .* here \[2, 3, 5, 7\], .*, got \(2, 3, 5, 5\)"),
        ({"mask": MASK[0]}, TypeError, r"mask must be of bool, .*; got bool \(3, 5, 7\)"),
        ({"bias": np.zeros((1, 3, 5, 5))}, ValueError, r"bias must be .* here \[2, 3, 5, 7\], .*, got \(1, 3, 5, 5\)"),
        ({"bias": np.zeros((5, 7))}, ValueError, r"bias must be \[B, H, T, S\], .*, got \(5, 7\)"),
    ],
)
def test_shapes_that_do_not_fit(implementation, changed, error, message):
    given = {"query": QUERY, "key": KEY, "value": VALUE, **changed}
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda: dot_product_attention(**given, implementation=implementation))


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_a_sequence_of_no_keys_gives_zeros(implementation):
    attend = partial(dot_product_attention, implementation=implementation)
    found = jax.jit(attend)(QUERY, KEY[:, :0], VALUE[:, :0], MASK[..., :0])
    np.testing.assert_array_equal(found, np.zeros(QUERY.shape))
    assert jax.eval_shape(attend, QUERY[:, :0], KEY, VALUE).shape == (2, 0, 3, 4)


def test_attention_that_cannot_be_causal():
    with pytest.raises(ValueError, match=r"of a sequence upon itself, got \(2, 5, 3, 4\) and \(2, 7, 3, 4\)"):
        dot_product_attention(QUERY, KEY, VALUE, causal=True)
    layer, x = MultiHeadAttention(3), jnp.zeros((2, 1, 12))
    cache = KeysValues(*[jnp.zeros((2, 4, 3, 4))] * 2)
    with pytest.raises(ValueError, match="only causal attention can go on with a sequence"):
        jax.eval_shape(lambda: layer.init(jax.random.key(0), x, cache, 0, train=False, method="extend"))


@pytest.mark.parametrize("kind", ["additive", "multiplicative", "dot"])
def test_a_decoder_that_finds_no_place_gets_nothing_and_leaves_finite_gradients(kind):
    layer, values, query = Alignment(kind, 4, jnp.float32), jnp.float32(KEY[:, :, 0]), jnp.float32(QUERY[:, :2, 0])
    params = {name: {"kernel": jnp.float32(RANDOM.randn(4, 1 if name == "score" else 4))} for name in LAYERS[kind]}

    @partial(jax.jit, compiler_options=QUICK)
    def run(params, values):
        def weights(params, values):
            mask = jnp.broadcast_to(jnp.arange(2)[:, None] > 0, (2, 7))
            memory = Memory(values, layer.apply({"params": params}, values, method="keys"), mask)
            return layer.apply({"params": params}, query, memory)

        return weights(params, values), jax.grad(lambda *x: (weights(*x) ** 2).sum(), (0, 1))(params, values)

    weights, gradients = run(params, values)
    np.testing.assert_allclose(weights.sum(-1), [[0, 0], [1, 1]], rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert not gradients[1][0].any()
    assert gradients[1][1].any()
