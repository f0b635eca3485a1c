"""Training a translator: the loss, what is measured, and a short run."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.layers.pairs import Pairs
from jaxvision.rnn.seq2seq import Seq2Seq
from train import translation
from train.data.parallel import END, PAD, START, UNKNOWN, ReadingConfig, load_corpus, sentences, vocabulary
from train.shared import mesh as mesh_module
from train.shared.buckets import Buckets
from train.shared.feed import streaming
from train.shared.mesh import PMAP_AXIS, make_mesh
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, describe_run, start_run
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.shared.text_scores import bleu, exact, scores_by_length
from train.trained import read_translator
from train.translate import Options, read, translate
from train.translation import Config, batches, make_loss_fn
from train.translator import Translator, given, scores

NUMBERS = ("one", "two", "three")
TEXTS = [
    (" ".join(words), " ".join(word.upper() for word in words))
    for count in (1, 2, 4)
    for words in itertools.product(NUMBERS, repeat=count)
]


@pytest.fixture(autouse=True, scope="module")
def compiled_quickly(tmp_path_factory):
    """What runs once takes longer to compile than to run, and what several tests run is compiled once."""
    names = ("disable_most_optimizations", "compilation_cache_dir", "persistent_cache_min_compile_time_secs")
    for values in ((True, str(tmp_path_factory.mktemp("cache")), 0.0), (False, None, 1.0)):
        for name, value in zip(names, values, strict=True):
            jax.config.update(f"jax_{name}", value)
        compilation_cache.reset_cache()
        if values[0]:
            yield


def small(dtype=jnp.float32):
    """A model, its parameters, and a split."""
    vocabularies = [vocabulary(side, words=True, limit=None) for side in zip(*TEXTS, strict=True)]
    sizes = [len(part.tokens) for part in vocabularies]
    model = Seq2Seq(*sizes, hidden=4, embedding=3, bidirectional=False, attention="multiplicative", dtype=dtype)
    params = jax.tree.map(lambda leaf: 3 * leaf, jv.init(model, jax.random.key(0))["params"])
    return model, params, sentences(TEXTS, *vocabularies)


def arrays(split):
    return Pairs(split.source, split.lengths, split.target)


def expected_sums(logits, targets):
    """Loss, right tokens and tokens, one by one."""
    loss = correct = count = 0
    for said, token in zip(np.float64(logits).reshape(-1, logits.shape[-1]), targets.ravel(), strict=True):
        if token != PAD:
            loss, correct, count = loss - log_softmax(said)[token], correct + (said.argmax() == token), count + 1
    return loss, correct, count


def test_measures_are_of_the_whole_split_and_of_no_padding():
    model, params, split = small()
    pairs, targets = arrays(split), split.target[:, 1:]
    force = jax.jit(partial(model.apply, train=False))
    loss, correct, count = expected_sums(force({"params": params}, given(pairs)), targets)
    translator = Translator(model, targets.shape[1], make_mesh(2), batch_size=23)
    found = translator.measure(params, split)
    assert found == pytest.approx({"loss": loss / count, "accuracy": correct / count}, rel=1e-5)
    written = translator.write(params, split)
    before = np.concatenate([pairs.target[:, :1], written[:, :-1]], 1)
    logits = np.array(force({"params": params}, pairs._replace(target=before)))
    logits[..., [PAD, START, UNKNOWN]] = -np.inf
    likeliest = logits.argmax(-1)
    ended = np.cumsum(before == END, 1) > 0
    np.testing.assert_array_equal(written, np.where(ended, END, likeliest))


def lengths_of(split):
    return np.stack([split.lengths, np.count_nonzero(split.target != PAD, 1)], 1)


def test_the_loss_is_of_the_tokens_whatever_their_padding():
    """So an epoch in buckets adds up to what all pairs give at once, as wide as the longest and wider."""
    model, params, split = small()
    loss_fn = jax.jit(make_loss_fn(model))
    order = Buckets(lengths_of(split), 1, seed=0)  # leaves out none
    parts = [*itertools.islice(batches(split, order, 0), order.steps_per_epoch)]
    assert len({part.source.shape[1] for part in parts}) == 3
    pad = lambda array: np.pad(array, ((0, 0), (0, 3)), constant_values=PAD)
    wider = Pairs(pad(split.source), split.lengths, pad(split.target))
    found = []
    for group in ([arrays(split)], [wider], parts):
        results = [loss_fn(params, {}, part, jax.random.key(0), 0) for part in group]
        found.append(np.sum([(loss, count, metrics["accuracy"]) for (loss, count), (_, metrics) in results], 0))
    logits = jax.jit(partial(model.apply, train=False))({"params": params}, given(arrays(split)))
    loss, correct, count = expected_sums(logits, split.target[:, 1:])
    for sums in found:
        np.testing.assert_allclose(sums, (loss, count, correct), rtol=1e-5)


def test_smoothed_loss():
    logits, targets = jax.random.normal(jax.random.key(0), (2, 3, 5)), jnp.array([[1, 4, 2], [3, PAD, PAD]])
    smooth = optax.smooth_labels(jax.nn.one_hot(targets, 5), 0.2)
    losses = optax.softmax_cross_entropy(logits, smooth) * (targets != PAD)
    assert scores(logits, targets, 0.2)["loss"] == pytest.approx(float(losses.sum()), rel=1e-6)


def test_scores_of_texts():
    texts = ["a b c d e", "f"]
    assert exact(["a b c d x", "f"], texts) == 0.5
    # Four of five words, three of four pairs, two of three triples and one of two quadruples are right.
    assert bleu(["a b c d x"], texts[:1]) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_scores_by_the_length_of_the_source():
    lengths = np.array([3, 10, 11, 25, 30])
    found = scores_by_length(["3", "no", "11", "25", "30"], [str(length) for length in lengths], lengths, exact)
    assert found == {"1–10": (0.5, 2), "11–20": (1.0, 1), "21–30": (1.0, 2)}


def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)

    def steps(mesh, compilation="jit"):
        model, params, split = small(jnp.float64)
        axis_name, optimizer = PMAP_AXIS if compilation == "pmap" else None, optax.sgd(0.3, momentum=0.9)
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        state = create_state({"params": params}, optimizer, jax.random.key(0))
        step = make_train_step(make_loss_fn(model), optimizer, axis_name=axis_name)
        order = Buckets(lengths_of(split), 16, 0, multiple=8, most=1)
        advance, state = streaming(step, partial(batches, split, order), state, mesh, compilation=compilation)
        return jax.device_get(advance(state, 0, 2))

    with jax.enable_x64(True):
        one, eight, mapped = steps(make_mesh(1)), steps(make_mesh(8, 2)), steps(make_mesh(2), "pmap")
    for found in (eight, mapped):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, one)  # the loss is of float32


def config(directory, **options):
    for split, part in (("train", TEXTS[::-1] * 3), ("val", TEXTS[::7])):
        for language, side in zip(("words", "shouted"), zip(*part, strict=True), strict=True):
            (directory / f"{split}.{language}").write_text("\n".join(side) + "\n")
    fields = {
        "hidden": 16,
        "embedding": 8,
        "batch_size": 32,
        "epochs": 40,
        "evaluate_every": 20,
        "bidirectional": False,
        "devices": 1,
        "beams": 2,
    }
    optimizer = OptimizerConfig(learning_rate=2e-2, weight_decay=0.0, clip_norm=1.0, ema=None)
    reading = ReadingConfig(languages=("words", "shouted"))
    files = {"data": "files", "data_dir": directory, "reading": reading, "run_dir": directory / "run"}
    return Config(**{**files, **fields, "optimizer": optimizer, "scheduled_sampling": 0.2, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run, and its result."""
    found = config(tmp_path_factory.mktemp("whole"))
    return found, translation.run(found)


class Killed(BaseException):
    pass


def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(whole, tmp_path):
    """Killed after the first checkpoint: what it has done since is done again."""
    complete, expected = whole
    asked = config(tmp_path)
    experiment = translation.build(asked)
    advance = experiment.advance

    def advance_and_die(state, start, stop):
        if start > 20 * experiment.order.steps_per_epoch:
            raise Killed
        return advance(state, start, stop)

    experiment.advance = advance_and_die
    with pytest.raises(Killed), start_run(asked.directory, asked):
        translation.train(asked, experiment)
    assert translation.run(asked) == expected
    directories = complete.directory, asked.directory
    weights = [(directory / "weights.safetensors").read_bytes() for directory in directories]
    assert weights[0] == weights[1]
    lines = [read_metrics(directory / "metrics.jsonl") for directory in directories]
    for record in (*lines[0], *lines[1]):
        assert record.pop("tokens_per_second") > 0
    assert lines[0] == lines[1]


def test_a_short_run_learns_and_reports(whole):
    asked, result = whole
    assert (result["split"], result["exact"], result["bleu"]) == ("val", 1.0, pytest.approx(100))
    assert result["by_length"] == {"1–10": {"bleu": pytest.approx(100), "pairs": 14}}
    records = read_metrics(asked.directory / "metrics.jsonl")
    losses = {record["step"]: record["val/loss"] for record in records if "val/loss" in record}
    assert losses[result["step"]] == min(losses.values())
    assert len(losses) == 2
    assert "Where the decoder looked" in (asked.directory / "report.html").read_text()
    assert translation.run(asked) == result
    trained = read_translator(asked.directory)
    assert translate(trained, read(["three one two"], trained), Options(None))[0] == ["THREE ONE TWO"]


def test_a_transformer_learns_and_is_read_back(tmp_path):
    options = {"model": "transformer", "num_heads": 2, "epochs": 60, "evaluate_every": 60, "scheduled_sampling": 0.0}
    asked = config(tmp_path, **options)
    result = translation.run(asked)
    assert result["exact"] == 1.0
    trained = read_translator(asked.directory)
    sources, targets = zip(*TEXTS[::7], strict=True)
    assert translate(trained, read(sources, trained), Options(None))[0] == [*targets]
    assert "Where the decoder looked" in (asked.directory / "report.html").read_text()
    assert "Where each head of its last block looked" in (asked.directory / "report.html").read_text()


def test_plateaus_and_patience_follow_the_loss(tmp_path):
    options = OptimizerConfig("sgd", 1e-12, "plateau", warmup=0.0, plateau=1, ema=None)
    asked = config(tmp_path, patience=2, evaluate_every=1, optimizer=options)
    translation.run(asked)
    records = read_metrics(asked.directory / "metrics.jsonl")
    np.testing.assert_allclose([record["learning_rate"] for record in records], [1e-12, 1e-12, 1e-13], rtol=1e-5)


def test_batches_from_a_step_on_are_those_of_a_run_that_began_before():
    _, _, split = small()
    order = Buckets(lengths_of(split), 8, seed=0)
    middle = order.steps_per_epoch // 2
    whole = itertools.islice(batches(split, order, 0), middle, 2 * order.steps_per_epoch)
    for before, after in zip(whole, batches(split, order, middle), strict=False):
        jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_run_is_not_gone_on_with_on_another_corpus(whole):
    asked, _ = whole
    corpus = load_corpus("files", asked.data_dir, asked.reading)
    describe_run(asked.directory, translation.describe(asked, corpus), "corpus")
    changed = dataclasses.replace(corpus, digest="0" * 64)
    with pytest.raises(RunError, match="was begun with another corpus"):
        describe_run(asked.directory, translation.describe(asked, changed), "corpus")


@pytest.mark.parametrize(("options", "message"), [
    ({"beams": 0}, "--beams must be 1 or more, got 0"),
    ({"length_penalty": -1.0}, "--length-penalty must be 0 or more"),
    ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1.0"),
    ({"scheduled_sampling": 1.5}, "--scheduled-sampling must be from 0 to 1, got 1.5"),
    ({"hidden": 5}, "--hidden must be even"),
    ({"model": "transformer", "hidden": 36}, "--hidden must be a multiple of twice --num-heads 4, got 36"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
