"""What a finished translator says of sentences."""

import dataclasses
import io
import json
import re
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

import jaxvision as jv
from jaxvision.layers.pairs import Pairs
from jaxvision.rnn.seq2seq import Seq2Seq
from jaxvision.transformer.transformer import Transformer
from train.data.parallel import END, START, vocabulary
from train.shared import figures
from train.shared.mesh import make_mesh
from train.shared.run import RunError
from train.trained import TrainedTranslator, read_translator
from train.translate import Options, read, save, standard_input, translate, unknown
from train.translator import Translator

SOURCES, TARGETS = ("ein Hund", "der Hund bellt"), ("a dog", "the dog barks.")
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def known(words=True):
    source, target = vocabulary(SOURCES, words=words, lowercase=True), vocabulary(TARGETS, words=words)
    return TrainedTranslator(None, None, source, target, max_source=4, max_target=5)


def untrained(**fields):
    translator = known()
    model = Seq2Seq(len(translator.source.tokens), len(translator.target.tokens), hidden=6, embedding=3, **fields)
    params = jax.tree.map(lambda leaf: 4 * leaf, jv.init(model, jax.random.key(0))["params"])
    return dataclasses.replace(translator, model=model, params=params)


@pytest.fixture(scope="module")
def trained():
    return untrained()


def options(**fields):
    return Options(**{"run_dir": None, "beams": 1, **fields})


def by_steps(trained, text):
    """The likeliest token after those before it, one at a time."""
    call = lambda **options: jax.jit(partial(trained.model.apply, {"params": trained.params}, **options))
    encode, step = call(method="encode", train=False), call(method="step")
    numbers = np.array([trained.source.encode(text)])
    memory, state = encode(numbers, np.array([numbers.shape[1]]))
    said = [START]
    while said[-1] != END and len(said) <= trained.max_target:
        logits, state = step(np.array(said[-1:]), state, memory)
        said.append(int(np.where(np.isin(np.arange(logits.shape[1]), (0, 1, 3)), -np.inf, logits[0]).argmax()))
    return said[1:]


def test_translations_are_the_likeliest_and_those_of_the_search(trained):
    texts = ["Der Hund", "bellt ein  Hund", "Hund"]
    found, looks = translate(trained, read(texts, trained), options())
    assert found == [trained.target.decode(by_steps(trained, text)) for text in texts]
    assert len(set(found)) > 1
    assert looks == []
    search = options(beams=3, length_penalty=0.5)
    searched, _ = translate(trained, read(texts, trained), search)
    assert translate(trained, read(texts[1:2], trained), search)[0] == searched[1:2]


def test_where_it_looked_is_drawn(trained, tmp_path):
    picture, texts = tmp_path / "new.png", ("der Hund bellt", "Hund")
    _, looks = translate(trained, read(texts, trained), options(alignment=picture))
    for text, (source, written, shares) in zip(texts, looks, strict=True):
        assert source == text.lower().split()
        assert written == [trained.target.tokens[number].strip() for number in by_steps(trained, text)]
        assert shares.shape == (1, len(written), len(source))
        np.testing.assert_allclose(shares.sum(2), 1, rtol=1e-5)
    save(looks, picture)
    with Image.open(picture) as image:
        assert min(image.size) > 100


def test_each_head_of_the_last_block_is_drawn():
    words = known()
    split, written = read(("der Hund bellt", "Hund"), words), np.array([[5, 6, 4, END], [4, END, END, END]])
    sizes = (len(words.source.tokens), len(words.target.tokens))
    model = Transformer(*sizes, dim=12, depth=2, num_heads=3, hidden=8, max_length=8, shared="none")
    variables = jax.tree.map(lambda leaf: 3 * leaf, jv.init(model, jax.random.key(0)))
    looks = Translator(model, 5, make_mesh(1)).look(variables["params"], split, written, words.source, words.target)
    pairs = Pairs(split.source, split.lengths, np.array([[START, 5, 6, 4], [START, 4, END, END]]))
    _, shown = jax.jit(partial(model.apply, train=False, mutable=["intermediates"]))(variables, pairs)
    (weights,) = shown["intermediates"]["decoder"]["block2"]["cross_attention"]["weights"]
    cells = iter(figures.heads(looks).axes)
    for (source, _, shares), expected in zip(looks, (weights[0], weights[1, :, :2, :1]), strict=True):
        np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-6)
        for title, drawn in {"mean of the heads": shares.mean(0), "head 1": shares[0], "head 3": shares[2]}.items():
            axes = next(axes for axes in cells if axes.get_title("left") == title)
            np.testing.assert_array_equal(axes.images[0].get_array(), drawn)
            assert [label.get_text() for label in axes.get_xticklabels()] == source
    assert np.ptp(looks[0][2], 0).max() > 0.01


def test_a_run_is_read_back(trained, tmp_path):
    with pytest.raises(RunError, match="holds no complete run"):
        read_translator(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(RunError, match=r"holds no translator \(its model.json has no source\)"):
        read_translator(tmp_path)
    fields = ("source_size", "target_size", "cell", "hidden", "embedding")
    about = {name: dataclasses.asdict(getattr(trained, name)) for name in ("source", "target")}
    about |= {name: getattr(trained, name) for name in ("max_source", "max_target")}
    about["model"] = {name: getattr(trained.model, name) for name in fields} | {"dtype": "float32"}
    (tmp_path / "model.json").write_text(json.dumps(about))
    jv.save_weights(trained.model, {"params": trained.params}, tmp_path / "weights.safetensors")
    found = read_translator(tmp_path)
    assert (found.source, found.target, found.max_target) == (trained.source, trained.target, 5)
    jax.tree.map(np.testing.assert_array_equal, found.params, trained.params)


@pytest.mark.parametrize(("words", "texts", "message"), [
    (True, [], "there is nothing to translate: give sentences"),
    (True, ["Hund", " "], "sentence 2 has 0 tokens: 1 to 4 are expected"),
    (True, ["der der der der der"], "sentence 1 has 5 tokens: 1 to 4 are expected, the --max-length"),
    (False, ["hund", "hex"], "sentence 2: the translator has not met 'x'"),
])  # fmt: skip
def test_sentences_that_cannot_be(words, texts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(texts, known(words))


def test_lines_of_the_standard_input(monkeypatch):
    given = lambda content: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
    for content, lines in ((b"", []), ("größe \r\n\nHund".encode(), ["größe", "", "Hund"])):
        given(content)
        assert standard_input() == lines
    given(b"Hund\nb\xff\n")
    with pytest.raises(ValueError, match="standard input, line 2: byte 6 is 0xff, which is no UTF-8"):
        standard_input()


def test_words_not_met_are_unknown(trained):
    assert unknown(trained, "Ein Katze") == ["katze"]
    assert (
        translate(trained, read(["Ein Katze"], trained), options())[0]
        == (translate(trained, read(["ein Fuchs"], trained), options())[0])
    )


def test_what_looks_at_nothing_has_no_picture(tmp_path):
    blind, picture = untrained(attention="none"), tmp_path / "new.png"
    texts, looks = translate(blind, read(["Hund"], blind), options(alignment=picture))
    assert texts == [blind.target.decode(by_steps(blind, "Hund"))]
    with pytest.raises(ValueError, match="this translator has no attention to draw"):
        save(looks, picture)
    assert not picture.exists()


def test_options_that_cannot_be(tmp_path):
    picture = tmp_path / "there.png"
    picture.write_bytes(b"mine")
    for fields, message in (
        ({"beams": 0}, "--beams must be 1 or more, got 0"),
        ({"length_penalty": -1.0}, "--length-penalty must be 0 or more, got -1.0"),
        ({"alignment": tmp_path / "new.pdf"}, "--alignment must be a .png file"),
        ({"alignment": picture}, "there.png exists: give another"),
    ):
        with pytest.raises(ValueError, match=message):
            options(**fields)
