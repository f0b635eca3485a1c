"""The search for hidden units: areas against scikit-learn's, a unit that is known to fire, pages and pictures."""

import json
import string

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from train import hidden_units
from train.data.source_code import properties
from train.data.text import TextFile, load_text, standard_library
from train.hidden_units import Labelled, activations, areas, colored, picture, search, unit_name, unseen_files, window
from train.language_model import Config, describe
from train.shared.run import RunError, to_json, write_json

RANDOM = np.random.RandomState(0)


def test_areas_are_those_of_scikit_learn():
    units = np.round(RANDOM.randn(300, 70), 1).astype(np.float16)  # with ties
    marks = {"rare": RANDOM.rand(300) < 0.1, "frequent": RANDOM.rand(300) < 0.8}
    found = areas(units, marks)
    for name, holds in marks.items():
        np.testing.assert_allclose(found[name], [roc_auc_score(holds, unit) for unit in units.T], rtol=1e-12)


def test_a_unit_that_is_known_to_fire_is_found():
    texts, units = [], []
    for _ in range(2):
        quotes, comments = RANDOM.rand(2, 500) < 0.3
        noise = RANDOM.randn(500, 40)
        noise[:, 17] += 3 * quotes
        noise[:, 31] -= 4 * comments
        units.append(noise)
        marks = {"quotes": quotes, "comments": comments, "never": np.zeros(500, bool)}
        texts.append(Labelled("x" * 500, marks))
    found = search(*zip(units, texts, strict=True))
    assert {name: (unit.unit, unit.sign) for name, unit in found.items()} == {"quotes": (17, 1), "comments": (31, -1)}
    for name, unit in found.items():
        for area, values, text in ((unit.chosen, units[0], texts[0]), (unit.measured, units[1], texts[1])):
            expected = roc_auc_score(text.holds[name], unit.sign * values[:, unit.unit])
            np.testing.assert_allclose(area, expected, rtol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_activations_are_what_the_head_is_given(cell):
    model = LanguageModel(5, cell=cell, hidden=4, num_layers=2)
    variables = jv.init(model, jax.random.key(0))
    tokens = RANDOM.randint(0, 5, 9)
    units = activations(model, variables, tokens)
    assert units.shape == (9, 16 if cell == "lstm" else 8)
    logits, state = model.apply(variables, tokens[None], train=False)
    head = variables["params"]["head"]
    np.testing.assert_allclose(units[:, 4:8] @ head["kernel"] + head["bias"], logits[0], atol=1e-2)
    np.testing.assert_allclose(units[-1, :4], state[0][0, 0], atol=1e-3)
    if cell == "lstm":
        np.testing.assert_allclose(units[-1, 12:], np.tanh(state[1][1, 0]), atol=1e-3)
        assert unit_name(model, 13) == "cell 1 of layer 2"
    assert unit_name(model, 3) == "output 3 of layer 1"


def test_of_the_standard_library_the_modules_after_the_run_are_taken(tmp_path):
    config = Config(max_characters=300_000)
    text = load_text("python", None, 300_000)
    for name, content in {"config": to_json(config), "model": describe(config, text)}.items():
        write_json(tmp_path / f"{name}.json", content)
    choosing, measuring = hidden_units.read_texts(tmp_path, 20_000)
    after = standard_library(None, 10**9)[len(standard_library(None, 300_000)) :]
    for text, files in ((choosing, after[::2]), (measuring, after[1::2])):
        assert text.text == "".join(file.content[:2_000] for file in files)[:20_000]
        assert text.holds["inside quotes"].shape == (20_000,)
    first = after[0].content
    np.testing.assert_array_equal(
        choosing.holds["inside a comment"][:2_000], properties(first)["inside a comment"][:2_000]
    )


def test_files_that_training_saw_a_part_of_are_left_out():
    files = [TextFile(None, "x" * size) for size in (80, 8, 6, 4, 2)]
    assert unseen_files(files) == files[3:]  # the last 10 of 100


def test_shown_is_where_the_property_begins_most_often():
    lines = ["plain\n"] * 100
    lines[60:64] = ["'a' 'b'\n"] * 4
    text = "".join(lines)
    holds = np.array(
        [character in "'ab" and text[index - 1 : index + 2] != "lai" for index, character in enumerate(text)]
    )
    assert text[window(holds, text)].count("'a'") == 4
    assert text[window(np.zeros(6, bool), "plain\n")] == "plain\n"


def test_colors():
    page = colored("a<b\n", np.array([1, 1, -0.5, 0]))
    assert page == (
        '<span style="background:rgb(0 76 255/1.0)">a&lt;</span><span style="background:rgb(255 26 26/0.5)">b</span>'
        '<span style="background:rgb(255 26 26/0.0)">\n</span>'
    )
    image = picture("ab\n\nc", np.array([1, -1, 0, 0, 0.5]), "title").axes[0].images[0].get_array()
    np.testing.assert_allclose(image[0, :3], [(0, 0.3, 1), (1, 0.1, 0.1), (1, 1, 1)])
    np.testing.assert_allclose(image[2, 0], (0.5, 0.65, 1))


@pytest.fixture
def run_dir(tmp_path):
    """A run, of weights as they are drawn, on small files of source code."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(40):
        source = f"if x{number % 9} > 1:\n    y = 'text'  # why\n"
        (texts / f"{number:02}.txt").write_text(source)
    config = Config(data="text", data_dir=texts, hidden=4, embedding=3)
    about = describe(config, load_text("text", texts, 0))
    directory = tmp_path / "run"
    directory.mkdir()
    for name, content in {"config": to_json(config), "model": about, "result": {}}.items():
        write_json(directory / f"{name}.json", content)
    model = LanguageModel(**{**about["model"], "dtype": np.float32})
    jv.save_weights(model, jv.init(model, jax.random.key(1)), directory / "weights.safetensors")
    return directory


def test_pages_and_pictures_of_a_run(run_dir):
    output = run_dir / "units"
    hidden_units.show(run_dir, output, 1000)
    found = json.loads((output / "found.json").read_text())
    assert set(found) == {
        "inside quotes", "inside the condition of an if", "inside a comment", "in the indentation of a line",
    }  # fmt: skip
    assert all(0 <= unit[name] <= 1 for unit in found.values() for name in ("chosen", "measured", "untrained", "share"))
    assert len(list(output.glob("*.png"))) == 4
    assert "inside quotes: " in (output / "hidden_units.html").read_text()
    with pytest.raises(FileExistsError, match=f"{output} exists: give another --output"):
        hidden_units.show(run_dir, output, 1000)


def test_texts_too_short_to_tell_properties_leave_nothing_behind(run_dir):
    with pytest.raises(RunError, match=r"in a part of both texts, of 1 and 1 characters: give more --characters"):
        hidden_units.show(run_dir, run_dir / "units", 1)
    assert not (run_dir / "units").exists()


def test_a_text_that_has_changed_is_refused(run_dir):
    (run_dir.parent / "texts" / "00.txt").write_text("x = 1\ny = 2\n")
    with pytest.raises(RunError, match="was trained on another text than --data text is now"):
        hidden_units.read_texts(run_dir, 1000)


@pytest.mark.parametrize("text", ["Once upon a time\n", "Once (upon a time\n", "if once:\r    upon\rif a:\r    time\r"])
def test_text_that_is_no_source_is_refused(tmp_path, text):
    with pytest.raises(RunError, match=r"tale\.txt is no Python source"):
        hidden_units.labelled([TextFile(tmp_path / "tale.txt", text)], 100, string.printable)


def test_files_with_characters_that_the_model_has_not_met_are_left_out():
    files = [TextFile(None, content) for content in ("x = 1\n", "y = 2\n", "x = 1 # y\n", "x = x\n")]
    found = hidden_units.labelled(files, 70, "x=1 #\n")  # a tenth of 70 ends before the y of the third
    assert found.text == "x = 1\nx = 1 #x = x\n"
    with pytest.raises(RunError, match="each of the 2 files begins with characters that the model has not met"):
        hidden_units.labelled(files[:2], 70, "z")


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="--characters must be 1 or more, got 0"):
        hidden_units.Options(None, characters=0)
