"""Recurrent layers against PyTorch's, in float64, and against what follows from their definitions."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental import rnn
from jax.test_util import check_grads

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.layers import GRU, LSTM, RNN
from jaxvision.layers import scan as scan_file
from jaxvision.layers.scan import scan_module
from jaxvision.ops.arithmetic import multiply_adds
from jaxvision.weights import WeightsError, from_foreign, to_foreign
from tests.reference import recurrent_cases as cases
from tests.reference.descent import descended
from tests.reference.stored import FOLDER

EXPECTED = np.load(FOLDER / "recurrent.npz")
KINDS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
RANDOM = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def layer_of(case, **options):
    kind, stack = cases.CASES[case]
    fields = {**cases.KINDS[kind], **cases.STACKS[stack], "in_features": cases.INPUTS, "dtype": jnp.float64, **options}
    return KINDS[kind.split()[0]](cases.HIDDEN, **fields)


def weights_of(case):
    prefix = f"{case}: gradient of "
    names = [name.removeprefix(prefix) for name in EXPECTED.files if name.startswith(prefix)]
    return cases.weights(case, {name: EXPECTED[prefix + name].shape for name in names if "_l" in name})


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("segment", [None, 3])
@pytest.mark.parametrize("case", cases.CASES)
def test_outputs_gradients_and_steps(case, segment):
    layer, expected = layer_of(case, segment=segment), lambda name: EXPECTED[f"{case}: {name}"]
    variables = from_foreign(layer, weights_of(case), "torch", dtype=jnp.float64)
    of_output, of_last = cases.cotangents(case, expected("output").shape)

    @partial(jax.jit)
    @partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    def run(variables, x, state):
        output, last = layer.apply(variables, x, state, lengths=jnp.array(cases.LENGTHS), train=True)
        return (output * of_output).sum() + sum((part * of_last).sum() for part in last), (output, last)

    given = cases.sequences(case), cases.initial_state(case)
    (_, (output, last)), gradients = run(variables, *given)
    new = descended(lambda variables: run(variables, *given)[1][0], variables)
    after = to_foreign(layer, new, "torch", dtype=np.float64)
    assert_close(output, expected("output"))
    assert_close(gradients[1], expected("gradient of input"))
    for n, (part, gradient) in enumerate(zip(last, gradients[2], strict=True)):
        assert_close(part, expected(f"last {n}"))
        assert_close(gradient, expected(f"gradient of state {n}"))
    of_weights = to_foreign(layer, gradients[0], "torch", dtype=np.float64)
    assert set(of_weights) == set(weights_of(case))
    for name, gradient in of_weights.items():
        assert_close(gradient, expected(f"gradient of {name}"))
        assert_close(after[name], expected(f"{name} after the steps"))


def drawn(layer, **options):
    layer = layer.clone(in_features=5, dtype=jnp.float64, **options)
    return layer, jax.tree.map(lambda x: x.astype(jnp.float64), jv.init(layer, jax.random.key(0)))


def run(layer, variables, x, state=None, **options):
    return jax.jit(lambda v, x, s: layer.apply(v, x, s, train=False, **options))(variables, x, state)


def numpy_gru(params, x, state):
    """The original GRU, step by step, in NumPy."""
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    weights = [np.asarray(params[side][leaf]) for side in ("input", "hidden") for leaf in ("kernel", "bias")]
    (w_r, w_z, w_n), (b_r, b_z, b_n), (u_r, u_z, u_n), (c_r, c_z, c_n) = (np.split(w, 3, -1) for w in weights)
    outputs = []
    for step in range(x.shape[1]):
        now = x[:, step]
        reset, update = (
            sigmoid(now @ w + b + state @ u + c) for w, b, u, c in [(w_r, b_r, u_r, c_r), (w_z, b_z, u_z, c_z)]
        )
        new = np.tanh(now @ w_n + b_n + (reset * state) @ u_n + c_n)
        state = (1 - update) * new + update * state
        outputs.append(state)
    return np.stack(outputs, 1)


def test_the_gru_of_the_paper_resets_the_state_itself():
    layer, variables = drawn(GRU(4, reset="before"))
    x, state = RANDOM.randn(2, 6, 5), RANDOM.randn(1, 2, 4)
    outputs, (last,) = run(layer, variables, x, (state,))
    assert_close(outputs, numpy_gru(variables["params"]["layer1_forward"], x, state[0]))
    assert_close(last[0], outputs[:, -1])
    assert np.abs(run(layer.clone(reset="after"), variables, x, (state,))[0] - outputs).max() > 1e-3


@pytest.mark.parametrize("layer", [RNN(4), LSTM(4, bidirectional=True), GRU(4, num_layers=2, reset="before")])
def test_the_gradient_is_that_of_differences(layer):
    layer, variables = drawn(layer)
    x, lengths = jnp.array(RANDOM.randn(2, 5, 5)), jnp.array([5, 3])
    function = lambda variables, x: (layer.apply(variables, x, lengths=lengths, train=False)[0] ** 2).sum()
    check_grads(jax.jit(function), (variables, x), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("layer", [LSTM(4, num_layers=2), GRU(4, bidirectional=True), GRU(4, reset="before")])
def test_forms_of_the_scan_agree(layer):
    layer, variables = drawn(layer)
    x, lengths = RANDOM.randn(3, 7, 5), jnp.array([7, 5, 1])
    expected = run(layer, variables, x, lengths=lengths)
    for options in ({"unroll": 3}, {"segment": 2}, {"segment": 10}):
        found = run(layer.clone(**options), variables, x, lengths=lengths)
        jax.tree.map(assert_close, found, expected)


def test_products_may_be_one_for_each_gate(monkeypatch):
    layer, variables = drawn(LSTM(4, bidirectional=True))
    x, lengths = RANDOM.randn(3, 7, 5), jnp.array([7, 5, 1])
    function = lambda variables, x: layer.apply(variables, x, lengths=lengths, train=False)[0]
    gradient = jax.grad(lambda variables, x: (function(variables, x) ** 2).sum(), argnums=(0, 1))
    products = lambda: str(jax.make_jaxpr(lambda *args: function(*args))(variables, x)).count("dot_general[")
    expected, one = jax.jit(gradient)(variables, x), products()
    monkeypatch.setattr(scan_file, "CACHE_SIZE", 0)
    assert products() == one + 2 * (layer.cell.num_gates - 1)  # of two directions
    jax.tree.map(assert_close, jax.jit(lambda *args: gradient(*args))(variables, x), expected)


def test_the_batch_may_be_a_symbol():
    layer, variables = drawn(LSTM(4))
    run = jax.jit(lambda x: layer.apply(variables, x, train=False)[0])
    shape = export.symbolic_shape("b, t, 5")
    exported = export.export(run, platforms=("cpu", "cuda", "tpu"))(jax.ShapeDtypeStruct(shape, jnp.float64))
    x = RANDOM.randn(3, 6, 5)
    assert_close(exported.call(x), run(x))


@pytest.mark.parametrize("layer", [
    RNN(4), RNN(4, nonlinearity="relu", bidirectional=True), LSTM(4, segment=2), GRU(4, num_layers=2),
    GRU(4, reset="before"), GRU(4, reset="before", segment=2),
])  # fmt: skip
def test_outputs_and_gradient_lower_for_accelerators(layer):
    layer = layer.clone(in_features=5)
    given = jax.ShapeDtypeStruct((3, 7, 5), jnp.float32), jax.ShapeDtypeStruct((3,), jnp.int32)

    def loss(variables, x, lengths):
        outputs, last = layer.apply(variables, x, lengths=lengths, train=True)
        return (outputs**2).sum() + sum(part.sum() for part in last), outputs

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    exported = export.export(run, platforms=("cuda", "tpu"))(abstract_variables(layer), *given)
    assert exported.platforms == ("cuda", "tpu")
    assert exported.out_avals[1].shape == (3, 7, layer.hidden * len(layer.directions))


@pytest.mark.parametrize("layer", [LSTM(4), GRU(4, bidirectional=True)])
def test_elsewhere_than_on_a_cpu_inputs_are_projected_before_the_scan(layer, monkeypatch):
    layer, variables = drawn(layer)
    x, lengths = RANDOM.randn(3, 6, 5), jnp.array([6, 4, 1])
    function = lambda variables, x: (layer.apply(variables, x, lengths=lengths, train=False)[0] ** 2).sum()
    of_cpu = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(variables, x)
    monkeypatch.setattr(scan_file.lax, "platform_dependent", lambda *operands, cpu, default: default(*operands))
    elsewhere = jax.jit(jax.value_and_grad(lambda *args: function(*args), argnums=(0, 1)))
    jax.tree.map(assert_close, elsewhere(variables, x), of_cpu)
    whole = f"f64[3,6,{layer.cell.num_gates * 4}]"
    assert whole in str(jax.make_jaxpr(function)(variables, x))


def test_segments_bound_the_memory_of_the_gradient():
    """Of each step more, it keeps the output alone, and not the gates."""

    def size(steps, segment):
        layer = LSTM(16, in_features=2, segment=segment)
        x = jax.ShapeDtypeStruct((4, steps, 2), jnp.float32)
        loss = lambda variables, x: (layer.apply(variables, x, train=False)[0] ** 2).sum()
        compiled = jax.jit(jax.grad(loss)).lower(abstract_variables(layer), x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    growth = {segment: size(512, segment) - size(256, segment) for segment in (None, 16)}
    assert 0 < growth[16] < growth[None] / 5


def test_a_sequence_in_two_parts_is_the_sequence():
    layer, variables = drawn(LSTM(4, num_layers=2))
    x = RANDOM.randn(2, 9, 5)
    whole, last = run(layer, variables, x)
    first, state = run(layer, variables, x[:, :4])
    second, end = run(layer, variables, x[:, 4:], state)
    assert_close(jnp.concatenate([first, second], 1), whole)
    jax.tree.map(assert_close, end, last)


def test_reverse_is_the_sequence_turned_round():
    layer, variables = drawn(GRU(4))
    x = RANDOM.randn(2, 6, 5)
    outputs, last = run(layer, variables, x, reverse=True)
    turned, end = run(layer, variables, x[:, ::-1])
    assert_close(outputs, turned[:, ::-1])
    assert_close(last[0], end[0])


def test_what_follows_the_end_of_a_sequence_does_not_count():
    layer, variables = drawn(LSTM(4, num_layers=2, bidirectional=True))
    x = RANDOM.randn(2, 6, 5)
    outputs, last = run(layer, variables, x, lengths=jnp.array([6, 2]))
    alone, end = run(layer, variables, x[1:, :2])
    assert_close(outputs[1:, :2], alone)
    assert not outputs[1, 2:].any()
    jax.tree.map(lambda a, b: assert_close(a[:, 1:], b), last, end)


def test_a_learnt_state_stands_for_one_that_is_not_given():
    layer, variables = drawn(LSTM(4, learned_state=True))
    params = {**variables["params"], "initial_hidden": jnp.full((1, 4), 0.3), "initial_cell": jnp.full((1, 4), -0.2)}
    x = RANDOM.randn(2, 3, 5)
    learnt = run(layer, {"params": params}, x)
    state = (jnp.full((1, 2, 4), 0.3), jnp.full((1, 2, 4), -0.2))
    jax.tree.map(assert_close, learnt, run(layer, {"params": params}, x, state))
    gradient = jax.grad(lambda p: layer.apply({"params": p}, x, train=False)[0].sum())(params)
    assert np.abs(gradient["initial_cell"]).min() > 0
    with pytest.raises(WeightsError, match="layout"):
        to_foreign(layer, {"params": params}, "torch")


def test_dropout_is_between_layers_and_in_training_alone():
    layer, variables = drawn(GRU(4, num_layers=2), dropout=0.5)
    x, seen = RANDOM.randn(2, 3, 5), []

    def spy(method, args, kwargs, context):
        if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
            seen.append(args[0].shape)
        return method(*args, **kwargs)

    with nn.intercept_methods(spy):
        dropped, _ = layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert seen == [(2, 3, 4)]
    kept, _ = layer.apply(variables, x, train=False)
    assert np.abs(dropped - kept).max() > 1e-3
    again, _ = layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(dropped, again)


def test_initial_values_are_as_pytorch_draws_them():
    _, variables = drawn(LSTM(16))
    for values in jax.tree.leaves(variables):
        assert 0.2 < np.abs(values).max() <= 0.25  # uniform up to 1 / sqrt(16)


def test_multiply_adds():
    layer, variables = drawn(LSTM(4))
    apply = partial(layer.apply, train=False)
    assert multiply_adds(apply, variables, jnp.zeros((2, 6, 5))) == 2 * 6 * (5 + 4) * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5)),), r"sequences must be \[B, T, D\].*\(2, 5\)"),
        ((np.zeros((2, 0, 5)),), "at least one step"),
        ((np.zeros((2, 3, 5)), (np.zeros((1, 2, 4)),)), r"state must be 2 arrays \(1, 2, 4\), got \(1, 2, 4\)"),
        ((np.zeros((2, 3, 5)), (np.zeros((2, 2, 4)),) * 2), r"got \(2, 2, 4\), \(2, 2, 4\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        LSTM(4).init(jax.random.key(0), *arguments, train=False)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (RNN(4, nonlinearity="sigmoid"), "nonlinearity must be one of tanh, relu, got 'sigmoid'"),
        (GRU(4, reset="never"), "reset must be one of after, before, got 'never'"),
        (LSTM(4, implementation="cuda"), "implementation must be one of scan, cudnn, got 'cuda'"),
        (LSTM(4, segment=0), "segment must be 1 step or more, got 0"),
    ],
)
def test_fields_that_cannot_be(layer, message):
    with pytest.raises(ValueError, match=message):
        abstract_variables(layer)


@pytest.mark.parametrize("lengths", [np.ones((2, 1), int), np.ones(3, int)])
def test_lengths_that_are_not_one_for_each_sequence(lengths):
    with pytest.raises(ValueError, match="lengths must be one for each of 2 sequences, got "):
        LSTM(4).init(jax.random.key(0), np.zeros((2, 3, 5)), lengths=lengths, train=False)


def test_a_module_is_run_over_time_by_a_step_of_its_own():
    """That of a sum that forgets, with the same weights and other draws at every step."""
    inputs = RANDOM.randn(2, 5, 3)

    class Sums(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(3, use_bias=False, param_dtype=jnp.float64, name="layer")

            def step(layer, carry, x):
                total = layer(carry) + x
                return total, (total, jax.random.normal(layer.make_rng("noise"), (2,)))

            return scan_module(step, layer, jnp.zeros_like(x[:, 0]), x)

    key = jax.random.key(0)
    (last, (outputs, noise)), variables = Sums().init_with_output({"params": key, "noise": key}, inputs)
    kernel, expected = np.asarray(variables["params"]["layer"]["kernel"]), np.zeros((2, 3))
    for step in range(5):
        expected = expected @ kernel + inputs[:, step]
        assert_close(outputs[:, step], expected)
    assert_close(last, expected)
    assert len(np.unique(noise)) == 2 * 5


def lstm_as_jax_writes_it(x, h, c, weights, lengths, *sizes):
    """What JAX gives as the reference of cuDNN's, of the same packed weights."""
    parts = rnn.unpack_lstm_weights(weights, *sizes[:3], sizes[4])
    return rnn.lstm_ref(x, h, c, *parts, lengths, *sizes)


@pytest.mark.parametrize("stack", [{}, {"num_layers": 2}, {"num_layers": 2, "bidirectional": True}])
def test_cudnn_is_given_what_it_expects(stack, monkeypatch):
    monkeypatch.setattr(rnn, "lstm", lstm_as_jax_writes_it)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layer, variables = drawn(LSTM(3, **stack))
    layer = layer.clone(dtype=jnp.float32)
    variables, x = jax.tree.map(jnp.float32, (variables, RANDOM.randn(3, 4, 5)))
    other = layer.clone(implementation="cudnn")
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(jax.eval_shape(lambda: other.init(jax.random.key(0), x, train=False))) == shapes(variables)
    state = tuple(jnp.float32(RANDOM.randn(layer.num_layers * len(layer.directions), 3, 3)) for _ in range(2))
    for options in ({}, {"state": state, "lengths": jnp.array([4, 1, 3])}):
        expected, found = (one.apply(variables, x, **options, train=True) for one in (layer, other))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), expected, found)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {}, "takes platform gpu alone, got cpu"),
        ({"dtype": jnp.bfloat16}, {}, "takes dtype float32 alone, got bfloat16"),
        ({"dropout": 0.1}, {}, "takes dropout in training False alone, got True"),
        ({"segment": 2}, {}, "takes segment None alone, got 2"),
        ({}, {"reverse": True}, "takes reverse False alone, got True"),
    ],
)
def test_what_cudnn_does_not_do(fields, options, message, monkeypatch):
    if "platform" not in message:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layer = LSTM(3, implementation="cudnn", **fields)
    x = jax.ShapeDtypeStruct((2, 4, 5), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with pytest.raises(ValueError, match=f'implementation="cudnn" {message}'):
        jax.eval_shape(lambda x: layer.init(keys, x, **options, train=True), x)


@pytest.mark.parametrize("layer", [GRU(4, reset="before", in_features=3), LSTM(4, learned_state=True, in_features=3)])
def test_weights_of_pytorch_are_not_those_of_another_function(layer, tmp_path):
    plain = layer.clone(**({"reset": "after"} if isinstance(layer, GRU) else {"learned_state": False}))
    jv.save_weights(plain, jv.init(plain, jax.random.key(0)), tmp_path / "torch.safetensors", layout="torch")
    jv.load_weights(plain, tmp_path / "torch.safetensors")
    with pytest.raises(WeightsError):
        jv.load_weights(layer, tmp_path / "torch.safetensors")
