"""Language models of Transformers: windows of a text, what a run learns from them, and what it writes."""

import dataclasses
import math
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
from jaxvision.transformer.gpt import GPT
from train import hidden_units, language_model, sample_text
from train.language_model import Config
from train.shared import mesh as mesh_module
from train.shared.feed import resident
from train.shared.mesh import PMAP_AXIS, make_mesh
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer
from train.shared.run import RunError
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.trained import TrainedLanguageModel, read_language_model
from train.windows import Evaluator, Windows, make_loss_fn, overlapping

RANDOM = np.random.RandomState(0)
VOCABULARY = "\nabcd"
ROOM = 6


@pytest.fixture(scope="module")
def small():
    """A model whose logits are far apart, its variables, and its compiled logits of a text."""
    model = GPT(5, dim=8, depth=1, num_heads=2, max_length=ROOM, positions="rotary")
    variables = jax.tree.map(lambda leaf: 10 * leaf, jv.init(model, jax.random.key(0)))
    run = jax.jit(partial(model.apply, train=False))

    def logits(tokens):  # [N], N at most ROOM, what follows does not count
        padded = np.pad(tokens, (0, ROOM - len(tokens)))
        return np.asarray(run(variables, padded[None])[0][0, : len(tokens)], np.float64)

    return model, variables, logits


def test_an_epoch_has_all_windows_in_an_order_of_its_own():
    tokens = np.arange(51, dtype=np.int32)
    order = Windows(tokens, batch_size=3, length=4, seed=0)
    assert order.steps_per_epoch == 4
    np.testing.assert_array_equal(order.chunks, 4 * np.arange(12)[:, None] + np.arange(5))
    epochs = [np.concatenate([order(step) for step in range(4 * n, 4 * n + 4)]) for n in range(2)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()
    with pytest.raises(ValueError, match=r"--batch-size 13 windows of --chunk 4 characters, .* more than the 51 of"):
        Windows(tokens, 13, 4, 0)


@pytest.mark.parametrize(("count", "length"), [(2, 6), (7, 6), (8, 6), (23, 6), (23, 5), (9, 2), (4, 1)])
def test_each_character_counts_once_and_after_half_a_window(count, length):
    tokens = 100 + np.arange(count)
    inputs, targets, weights = overlapping(tokens, length)
    rows, places = np.nonzero(weights)
    assert sorted(targets[rows, places]) == list(tokens[1:])
    np.testing.assert_array_equal(targets[rows, places], inputs[rows, places] + 1)
    before = places + 1
    assert (before >= np.minimum(targets[rows, places] - 100, (length + 1) // 2)).all()


def test_evaluation_is_that_of_each_character_by_itself(small):
    model, variables, logits = small
    tokens = RANDOM.randint(0, 5, 20).astype(np.int32)
    log_p, right = [], []
    for place in range(1, 20):
        first = max(0, math.ceil((place - ROOM) / (ROOM // 2))) * (ROOM // 2)
        row = logits(tokens[first:place])[-1]
        log_p.append(log_softmax(row)[tokens[place]])
        right.append(row.argmax() == tokens[place])
    for rows in (2, 32):
        found = Evaluator(model)(variables["params"], tokens, rows)
        np.testing.assert_allclose(found["loss"], -np.mean(log_p), rtol=1e-5)
        np.testing.assert_allclose(found["accuracy"], np.mean(right), rtol=1e-6)


def test_what_is_written_is_the_likeliest_after_what_is_seen(small):
    """With a cache what the whole model says: after the prompt, and where there is no more room, after half of it."""
    model, variables, logits = small
    trained = TrainedLanguageModel(model, variables, VOCABULARY)
    options = sample_text.Options(run_dir=None, prompt="abca", length=12, temperature=0.0, samples=2)
    texts = sample_text.write(trained, options)
    seen, text = [VOCABULARY.index(character) for character in "abca"], ""
    for _ in range(12):
        if len(seen) > ROOM:
            seen = seen[-(ROOM // 2) :]
        seen.append(int(logits(np.array(seen))[-1].argmax()))
        text += VOCABULARY[seen[-1]]
    assert texts == [text, text]
    drawn = [sample_text.write(trained, dataclasses.replace(options, temperature=1.0, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


@pytest.mark.parametrize("scan", [False, True])
def test_training_step_lowers_for_accelerators(scan):
    model = GPT(5, dim=8, depth=1, num_heads=2, max_length=6, dropout_rate=0.1, scan=scan, dtype=jnp.bfloat16)
    optimizer = make_optimizer(OptimizerConfig(), lambda step: 1e-3)
    state = jax.eval_shape(lambda v: create_state(v, optimizer, jax.random.key(0)), abstract_variables(model))
    step = jax.jit(make_train_step(make_loss_fn(model), optimizer))
    exported = export.export(step, platforms=("cuda", "tpu"))(state, jax.ShapeDtypeStruct((8, 7), jnp.int32))
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.slow
def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    with jax.enable_x64(True):
        model = GPT(5, dim=8, depth=1, num_heads=2, max_length=6, dropout_rate=0.0, dtype=jnp.float64)
        drawn = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jv.init(model, jax.random.key(0)))
        order, optimizer = Windows(RANDOM.randint(0, 5, 200), 8, 6, 0), optax.sgd(0.3, momentum=0.9)

        def end(mesh, compilation="jit"):
            axis_name = PMAP_AXIS if compilation == "pmap" else None
            step = make_train_step(make_loss_fn(model), optimizer, axis_name=axis_name)
            state = create_state(drawn, optimizer, jax.random.key(0))
            advance, state = resident(step, order.chunks, order, state, mesh, compilation=compilation)
            return jax.device_get(advance(state, 0, 5))

        one, eight, mapped = end(make_mesh(1)), end(make_mesh(8, 2)), end(make_mesh(4), "pmap")
    for found in (eight, mapped):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, one)  # the loss is of float32


CORPUS = "".join(f"{a}{b} is {b}{a}.\n" for a in "abcdefgh" for b in "stuvwxyz")


def test_a_run_learns_and_is_read_back(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(CORPUS)
    fields = {"data": "text", "data_dir": path, "run_dir": tmp_path / "run", "devices": 1, "epochs": 6}
    sizes = {"hidden": 8, "num_heads": 2, "batch_size": 4, "chunk": 8, "dropout": 0.1}
    result = language_model.run(Config(model="transformer", **sizes, **fields))
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = {record["step"]: record["val/loss"] for record in records if "val/loss" in record}
    assert losses[result["step"]] == min(losses.values()) < math.log(len(set(CORPUS))) - 0.2
    assert result["val_nats"] == pytest.approx(losses[result["step"]], rel=1e-6)
    text = sample_text.write(read_language_model(tmp_path / "run"), sample_text.Options(None, "a", length=20))[0]
    assert len(text) == 20
    with pytest.raises(RunError, match="run holds a Transformer: hidden units are those of recurrent layers"):
        hidden_units.show(tmp_path / "run", tmp_path / "units", 100)


@pytest.mark.parametrize(("options", "message"), [
    ({"num_heads": 3}, "--num-heads must divide --hidden 128, got 3"),
    ({"hidden": 12}, "--positions rotary needs an even number of units of each head"),
    ({"hidden": 9, "num_heads": 3, "positions": "sine_cosine"}, "--positions sine_cosine needs an even .* --hidden"),
    ({"chunk": 1}, "--chunk must be 2 or more, got 1"),
    ({"num_heads": 0}, "--num-heads must be 1 or more, got 0"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Config(model="transformer", **options)
