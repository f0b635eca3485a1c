"""The language model against PyTorch's layers, and training by truncated backpropagation through time."""

import dataclasses
import itertools
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.rnn.language_model import LanguageModel
from jaxvision.weights import from_foreign, to_foreign
from tests.reference import language_model_cases as cases
from tests.reference.descent import descended
from tests.reference.stored import FOLDER
from train import language_model
from train.language_model import Config
from train.shared import mesh as mesh_module
from train.shared.feed import resident
from train.shared.mesh import PMAP_AXIS, make_mesh
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, describe_run, start_run
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.streams import CARRY, Evaluator, Streams, make_loss_fn

EXPECTED = np.load(FOLDER / "language_models.npz")
RANDOM = np.random.RandomState(0)
# What runs once takes longer to compile than to run.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("case", cases.CASES)
def test_outputs_gradients_and_steps_are_those_of_pytorch(case):
    prefix = f"{case}: gradient of "
    names = [name.removeprefix(prefix) for name in EXPECTED.files if name.startswith(prefix)]
    weights = cases.weights(case, {name: EXPECTED[prefix + name].shape for name in names})
    tokens = cases.tokens(case)
    with jax.enable_x64(True):
        model = LanguageModel(cases.VOCABULARY, hidden=cases.HIDDEN, dtype=jnp.float64, **cases.CASES[case])
        variables = from_foreign(model, weights, "torch", dtype=jnp.float64)

        @quick
        @partial(jax.value_and_grad, has_aux=True)
        def run(variables, state):
            logits, last = model.apply(variables, tokens[:, :-1], state, train=False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).sum(), (logits, last)

        state = tuple(cases.initial_state(case))
        (loss, (logits, last)), gradients = run(variables, state)
        after = to_foreign(model, descended(lambda params: run(params, state)[1], variables), "torch", dtype=np.float64)
        of_weights = to_foreign(model, gradients, "torch", dtype=np.float64)
        again = to_foreign(model, variables, "torch", dtype=np.float64)
    assert_close(loss, EXPECTED[f"{case}: loss"])
    assert_close(logits, EXPECTED[f"{case}: logits"])
    for n, part in enumerate(last):
        assert_close(part, EXPECTED[f"{case}: last {n}"])
    assert set(of_weights) == set(weights)
    for name, gradient in of_weights.items():
        assert_close(gradient, EXPECTED[prefix + name])
        assert_close(after[name], EXPECTED[f"{case}: {name} after the steps"])
        np.testing.assert_array_equal(again[name], weights[name])


def test_an_embedding_is_a_matrix_times_one_hot_vectors():
    """So the product of it and the first layer's kernel does as the kernel of a model of one-hot vectors."""
    embedded, one_hot = LanguageModel(7, hidden=4, embedding=5), LanguageModel(7, hidden=4)
    params = jv.init(embedded, jax.random.key(0))["params"]
    table = params["embedding"]["embedding"]
    tokens = RANDOM.randint(0, 7, (2, 6))
    assert_close(jnp.take(table, tokens, 0), jax.nn.one_hot(tokens, 7) @ table)
    layer = params["recurrent"]["layer1_forward"]
    kernel = table @ layer["input"]["kernel"]
    rest = {name: value for name, value in params.items() if name != "embedding"}
    rest["recurrent"] = {"layer1_forward": {**layer, "input": {**layer["input"], "kernel": kernel}}}
    expected, _ = quick(partial(embedded.apply, train=False))({"params": params}, tokens)
    found, _ = quick(partial(one_hot.apply, train=False))({"params": rest}, tokens)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unknown_cells_are_named():
    with pytest.raises(ValueError, match="cell must be one of rnn, lstm, gru, got 'lstn'"):
        jv.init(LanguageModel(5, cell="lstn"), jax.random.key(0))


def small(tokens, batch_size, chunk, dtype=jnp.float32, **fields):
    """A model, the streams of a text, the loss, and parameters."""
    model = LanguageModel(5, hidden=6, dtype=dtype, **fields)
    streams = Streams(tokens, batch_size, chunk)
    variables = jv.init(model, jax.random.key(1))
    return model, streams, make_loss_fn(model, streams.steps_per_epoch), variables["params"]


def test_streams_go_through_the_text_in_its_order():
    tokens = np.arange(50, dtype=np.int32)
    streams = Streams(tokens, batch_size=3, chunk=4)
    assert streams.steps_per_epoch == 4
    for step in range(6):
        batch = streams.chunks[streams(step)]
        first = 16 * np.arange(3) + 4 * (step % 4)
        np.testing.assert_array_equal(batch, first[:, None] + np.arange(5))
    with pytest.raises(ValueError, match=r"--batch-size 10 streams of --chunk 5 .* need more than the 50 of the train"):
        Streams(tokens, 10, 5)


def test_one_chunk_is_full_backpropagation_and_several_carry_the_state():
    tokens = RANDOM.randint(0, 5, 7).astype(np.int32)
    with jax.enable_x64(True):
        model, _, _, params = small(tokens, 1, 6, jnp.float64)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

        def whole(params):  # one character at a time
            state, loss = model.initial_state(1), 0.0
            for before, after in itertools.pairwise(tokens):
                logits, state = model.apply({"params": params}, jnp.array([[before]]), state, train=False)
                loss -= jax.nn.log_softmax(logits[0, 0])[after]
            return loss

        def chunked(params, chunk):
            streams = Streams(tokens, 1, chunk)
            loss_fn = make_loss_fn(model, streams.steps_per_epoch)
            carry, total = {CARRY: jax.tree.map(jnp.ones_like, model.initial_state(1))}, 0.0  # dropped where it begins
            for step in range(streams.steps_per_epoch):
                carry = jax.lax.stop_gradient(carry)
                (loss, _), (carry, _) = loss_fn(params, carry, streams.chunks[streams(step)], jax.random.key(0), step)
                total += loss
            return total

        expected, expected_gradient = quick(jax.value_and_grad(whole))(params)
        differences = {}
        for chunk in (6, 3):
            loss, gradient = quick(jax.value_and_grad(partial(chunked, chunk=chunk)))(params)
            np.testing.assert_allclose(loss, expected, rtol=1e-6)  # the loss is of float32
            pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True)
            differences[chunk] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        assert differences[6] < 1e-6
        assert differences[3] > 1e-3  # what goes back further is cut off


def steps(mesh, params, model, streams, count, compilation="jit"):
    optimizer, axis_name = optax.sgd(0.3, momentum=0.9), PMAP_AXIS if compilation == "pmap" else None
    loss_fn = make_loss_fn(model, streams.steps_per_epoch, axis_name)
    step = make_train_step(loss_fn, optimizer, axis_name=axis_name)
    variables = {"params": params, CARRY: model.initial_state(len(streams(0)))}
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    state = create_state(variables, optimizer, jax.random.key(0))
    advance, state = resident(step, streams.chunks, streams, state, mesh, compilation=compilation)
    return jax.device_get(advance(state, 0, count))


def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    with jax.enable_x64(True):
        model, streams, _, params = small(RANDOM.randint(0, 5, 200).astype(np.int32), 8, 6, jnp.float64)
        one, eight = (steps(make_mesh(n, fsdp), params, model, streams, 5) for n, fsdp in ((1, 1), (8, 2)))
        mapped = steps(make_mesh(4), params, model, streams, 5, compilation="pmap")
    for found in (eight, mapped):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, one)  # the loss is of float32


def test_training_step_lowers_for_accelerators():
    tokens = RANDOM.randint(0, 5, 200).astype(np.int32)
    model, _, loss_fn, _ = small(tokens, 8, 6, embedding=3, dropout=0.1)
    optimizer = optax.sgd(0.1)
    make_state = lambda params: create_state(
        {"params": params, CARRY: model.initial_state(8)}, optimizer, jax.random.key(0)
    )
    step = jax.jit(make_train_step(loss_fn, optimizer))
    batch = jax.ShapeDtypeStruct((8, 7), jnp.int32)
    state = jax.eval_shape(make_state, abstract_variables(model)["params"])
    assert export.export(step, platforms=("cuda", "tpu"))(state, batch).platforms == ("cuda", "tpu")


@pytest.mark.parametrize("streams", [1, 3])
def test_evaluation_is_of_every_character_whatever_the_chunks(streams):
    tokens = RANDOM.randint(0, 5, 24).astype(np.int32)
    model, _, _, params = small(tokens, 1, 12)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    length, log_p = -(-23 // streams), []
    for first in range(0, 23, length):
        part = tokens[first : first + length + 1]
        logits, _ = quick(partial(model.apply, train=False))({"params": params}, part[None, :-1])
        log_p += [log_softmax(row)[token] for row, token in zip(logits[0], part[1:], strict=True)]
    assert len(log_p) == 23
    for chunk in (5, 8, 100):
        found = Evaluator(model, chunk)(params, tokens, streams)
        np.testing.assert_allclose(found["loss"], -np.mean(log_p), rtol=1e-6)
        assert 0 <= found["accuracy"] <= 1


def test_measures():
    found = language_model.measures(math.log(8))
    assert found == pytest.approx({"val_nats": math.log(8), "val_bits": 3, "val_perplexity": 8})


CORPUS = "".join(f"{a}{b} is {b}{a}.\n" for a in "abcdefgh" for b in "stuvwxyz")


def config(directory, **options):
    path = directory / "corpus.txt"
    path.write_text(CORPUS)
    fields = {"hidden": 8, "dropout": 0.2, "embedding": 4, "batch_size": 4, "chunk": 8, "epochs": 4, "devices": 1}
    return Config(data="text", data_dir=path, run_dir=directory / "run", **{**fields, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run, and its result."""
    found = config(tmp_path_factory.mktemp("whole"))
    return found.directory, language_model.run(found)


class Killed(BaseException):
    pass


def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(whole, tmp_path):
    directory, expected = whole
    asked = config(tmp_path)
    experiment = language_model.build(asked)
    evaluate, calls = experiment.evaluator, []

    def evaluate_and_die(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return evaluate(*arguments)

    experiment.evaluator = evaluate_and_die
    with pytest.raises(Killed), start_run(asked.directory, asked):
        language_model.train(asked, experiment)
    assert language_model.run(asked) == expected
    weights = [(place / "weights.safetensors").read_bytes() for place in (directory, asked.directory)]
    assert weights[0] == weights[1]
    lines = [read_metrics(place / "metrics.jsonl") for place in (directory, asked.directory)]
    for record in (*lines[0], *lines[1]):
        assert record.pop("tokens_per_second") > 0
    assert lines[0] == lines[1]


def test_a_run_learns_and_keeps_the_state_of_the_lowest_loss(whole):
    directory, result = whole
    records = read_metrics(directory / "metrics.jsonl")
    losses = {record["step"]: record["val/loss"] for record in records if "val/loss" in record}
    assert len(losses) == 4
    assert losses[result["step"]] == min(losses.values()) < math.log(len(set(CORPUS)))
    assert language_model.run(config(directory.parent)) == result
    assert "nats per character" in (directory / "report.html").read_text()


@pytest.mark.parametrize(
    ("learning_rate", "rates"),
    [(1e-3, [1e-3] * 4), (1e-12, [1e-12, 1e-12, 1e-13])],
    ids=["the loss falls", "nothing is learnt"],
)
def test_plateaus_and_patience_follow_the_loss(learning_rate, rates, tmp_path):
    options = OptimizerConfig("sgd", learning_rate, "plateau", warmup=0.0, plateau=1, ema=None)
    asked = config(tmp_path, patience=2, optimizer=options)
    language_model.run(asked)
    records = read_metrics(asked.directory / "metrics.jsonl")
    np.testing.assert_allclose([record["learning_rate"] for record in records], rates, rtol=1e-5)


def test_a_run_is_not_gone_on_with_on_another_text(whole, tmp_path):
    asked = config(tmp_path)
    experiment = language_model.build(asked)
    asked.directory.mkdir()
    describe_run(asked.directory, language_model.describe(asked, experiment.text), "text")
    changed = dataclasses.replace(experiment.text, digest="0" * 64)
    with pytest.raises(RunError, match="was begun with another text"):
        describe_run(asked.directory, language_model.describe(asked, changed), "text")


@pytest.mark.parametrize(("options", "message"), [
    ({"hidden": 0}, "--hidden must be 1 or more, got 0"),
    ({"train_characters": 0}, "--train-characters must be 1 or more, got 0"),
    ({"embedding": -1}, "--embedding must be 0 or more, got -1"),
    ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1.0"),
    ({"optimizer": OptimizerConfig(accumulate=2)}, "--accumulate must be 1"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_a_part_of_the_training_text(tmp_path):
    asked = config(tmp_path, train_characters=200)
    experiment = language_model.build(asked)
    whole = language_model.load_text("text", asked.data_dir, 0)
    np.testing.assert_array_equal(experiment.order.chunks.ravel()[:9], whole.train[:9])
    assert experiment.order.steps_per_epoch == 199 // (4 * 8)
    assert len(experiment.text.val) == len(whole.val)
    with pytest.raises(ValueError, match="--train-characters 1000: the training part has 576"):
        language_model.build(config(tmp_path, train_characters=1000))


def test_a_text_too_short_is_refused_before_anything_is_written(tmp_path):
    asked = config(tmp_path, batch_size=64, chunk=64)
    with pytest.raises(ValueError, match="--batch-size 64 streams of --chunk 64 characters"):
        language_model.run(asked)
    assert not Path(asked.directory).exists()


def test_a_text_without_a_validation_part_is_named(tmp_path):
    (tmp_path / "tale.txt").write_text("ab\nab\nab\nab\n")
    asked = Config(data="text", data_dir=tmp_path / "tale.txt", devices=1)
    with pytest.raises(ValueError, match=r"the validation part of --data-dir .*tale\.txt has 1 character\(s\), 2 are"):
        language_model.build(asked)
