"""What a trained language model writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from train.sample_text import Options, write
from train.shared.run import RunError
from train.trained import TrainedLanguageModel, read_language_model, read_trained

VOCABULARY = "\nabcd"
FIELDS = {"vocabulary_size": 5, "cell": "gru", "hidden": 6, "num_layers": 2, "embedding": 3, "dropout": 0.5}


@pytest.fixture(scope="module")
def trained():
    model = LanguageModel(**FIELDS)
    variables = jax.tree.map(lambda leaf: 3 * leaf, jv.init(model, jax.random.key(0)))
    return TrainedLanguageModel(model, variables, VOCABULARY)


def options(**fields):
    return Options(**{"run_dir": None, "prompt": "abca", "length": 8, **fields})


def logits(trained, text):
    tokens = jnp.array([[VOCABULARY.index(character) for character in text]])
    return np.array(trained.model.apply(trained.variables, tokens, train=False)[0][0])


def test_each_character_is_the_likeliest_after_all_before_it(trained):
    written = write(trained, options(temperature=0.0))[0]
    likeliest = logits(trained, "abca" + written[:-1]).argmax(-1)
    assert written == "".join(VOCABULARY[token] for token in likeliest[3:])
    assert write(trained, options(top_k=1)) == [written]


def test_characters_are_drawn_with_the_probabilities_of_the_model(trained):
    after = logits(trained, "a")[-1]
    for temperature, top_p in ((1.0, None), (0.5, 0.6)):
        expected = softmax(after / temperature)
        if top_p:
            order = np.argsort(-expected)
            expected[order[np.searchsorted(np.cumsum(expected[order]), top_p) + 1 :]] = 0
            expected /= expected.sum()
        drawn = write(trained, options(prompt="a", samples=4000, length=1, temperature=temperature, top_p=top_p))
        shares = [drawn.count(character) / 4000 for character in VOCABULARY]
        np.testing.assert_allclose(shares, expected, atol=5 * 0.5 / 4000**0.5)


def test_the_seed_is_all_that_chance_depends_on(trained):
    texts = {seed: write(trained, options(seed=seed, samples=3)) for seed in (0, 1)}
    assert texts[0] == write(trained, options(samples=3))
    assert texts[0] != texts[1]
    assert len(set(texts[0])) > 1


def test_a_run_is_read_back(trained, tmp_path):
    with pytest.raises(RunError, match="holds no complete run"):
        read_language_model(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    for of_another_kind in ("{}", '{"vocabulary": {"tokens": []}}'):
        (tmp_path / "model.json").write_text(of_another_kind)
        with pytest.raises(RunError, match=r"holds no language model \(its model.json has no vocabulary\)"):
            read_language_model(tmp_path)
        with pytest.raises(RunError, match=r"holds no classifier of images \(its model.json has no classes\)"):
            read_trained(tmp_path)
    about = {"model": {**FIELDS, "dtype": "float32"}, "vocabulary": VOCABULARY}
    (tmp_path / "model.json").write_text(json.dumps(about))
    jv.save_weights(trained.model, trained.variables, tmp_path / "weights.safetensors")
    assert write(read_language_model(tmp_path), options(seed=3)) == write(trained, options(seed=3))


@pytest.mark.parametrize(("fields", "message"), [
    ({"prompt": "ab\nxa"}, r"--prompt, line 2: the character 'x' \(U\+0078\) is none of the 5 known"),
    ({"prompt": ""}, "--prompt must be one character or more, got ''"),
    ({"length": 0}, "--length must be 1 or more, got 0"),
    ({"temperature": -1.0}, "--temperature must be 0 or more"),
    ({"top_k": 0}, "--top-k must be 1 or more"),
    ({"seed": -1}, "--seed must be 0 or more, got -1"),
    ({"seed": 10**20 - 1}, "--seed must be 9223372036854775807 or less, got 99999999999999999999"),
    ({"top_p": 1.5}, "--top-p must be above 0 and at most 1"),
])  # fmt: skip
def test_options_that_cannot_be(trained, fields, message):
    with pytest.raises(ValueError, match=message):
        write(trained, options(**fields))
