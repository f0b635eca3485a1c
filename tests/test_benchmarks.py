"""What the speed benchmark counts, in which order it measures, and what it keeps."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from benchmarks import attention_length, attention_memory, images_and_sequences, recurrent, sequences, timing
from benchmarks.throughput import Task, table
from benchmarks.timing import medians, save
from benchmarks.work import Contest, compare
from jaxvision.layers.pairs import Pairs
from jaxvision.rnn.captioner import CaptionedImages

ROOT = Path(__file__).parents[1]
LENET = 28**2 * 6 * 25 + 10**2 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10  # multiply-adds, layer by layer
ROW = {
    "model": "lenet5",
    "work": "infer",
    "batch": 8,
    "size": 32,
    "dtype": "float32",
    "images_per_second": {"jaxvision": 2000.0, "torch eager": 1000.0},
    "gflops_per_second": 2.0,
    "share_of_matmul_peak": 0.1,
    "compile_seconds": {"jaxvision": 1.0, "torch eager": 0.1},
    "memory_megabytes": {"jaxvision": 3},
    "ratio": 2.0,
}


ROW_OF_LAYER = {
    "work": "forward",
    "batch": 32,
    "steps": 128,
    "width": 256,
    "unroll": 1,
    "milliseconds": {"jaxvision": 1.0, "flax": 2.0},
    "ratios": {"flax": 2.0},
    "ratio": 2.0,
}


@pytest.mark.parametrize(("work", "passes"), [("infer", 1), ("train", 3)])
def test_operations(work, passes):
    task = Task("lenet5", work, np.zeros((4, 32, 32, 1), np.float32), np.zeros(4, np.int32), "float32")
    assert task.flops == passes * 2 * LENET * 4


def test_contenders_run_round_after_round_in_any_order_and_the_median_counts(monkeypatch):
    calls = []
    runs = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = {"a": itertools.cycle([1.0, 2.0, 9.0]), "b": itertools.repeat(3.0)}

    def timed(run):
        run()
        return next(seconds[calls[-1]])

    monkeypatch.setattr(timing, "timed", timed)
    found = medians(runs, seconds=21)  # two runs each, then rounds of 21 / 3
    assert calls[:4] == [*"aabb"]
    assert {(first, second) for first, second in zip(calls[4::2], calls[5::2], strict=True)} == {("a", "b"), ("b", "a")}
    assert len(calls) == 4 + 2 * 7
    assert found == {"a": 2.0, "b": 3.0}


def test_the_ratio_comes_last():
    header, line = table([ROW]).splitlines()
    assert header.split()[-1] == "ratio"
    assert line.split()[-1] == "2.00"


def test_a_row_takes_the_place_of_that_of_the_same_work_alone(tmp_path):
    file = tmp_path / "rows.json"
    for row in (ROW, {**ROW, "work": "train"}, {**ROW, "ratio": 3.0}):
        save(file, [row], ("model", "work"))
    kept = json.loads(file.read_text())["rows"]
    assert [(row["work"], row["ratio"]) for row in kept] == [("train", 2.0), ("infer", 3.0)]


def test_figures_of_another_machine_are_not_mixed_in(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"machine": {"cpu": "another"}, "rows": []}))
    with pytest.raises(SystemExit, match=r"holds figures of another machine.*give another --output"):
        save(file, [ROW], ("model", "work"))


def test_growth_is_told_of_each_network_from_its_smallest_image():
    sizes = {"memory_megabytes": 2.0, "multiply_adds_billions": 4.0, "seconds": 0.5}
    small = {"model": "a", "size": 32, "dtype": "float32", **sizes}
    large = {**small, "size": 64, "memory_megabytes": 32.0, "multiply_adds_billions": 16.0, "seconds": 4.0}
    lines = attention_memory.table([large, small, {**large, "model": "b"}]).splitlines()
    assert lines[1].split() == ["a", "64", "x4.0", "32.0", "x16.0", "16.0", "x4.0", "4.0", "x8.0"]
    assert lines[3].split() == ["b", "64", "x1.0", "32.0", "x1.0", "16.0", "x1.0", "4.0", "x1.0"]


def area_row(name, size, memory=1, time=1, dtype="float32"):
    figures = {"memory_megabytes": size ** (2 * memory), "seconds": size ** (2 * time)}
    return {"model": name, "size": size, "dtype": dtype, **figures}


def test_types_are_drawn_apart_and_a_single_image_has_no_power():
    rows = [area_row("a", size, dtype=dtype) for dtype in ("float32", "bfloat16") for size in (224, 448)]
    figure = attention_memory.draw({"machine": {}, "rows": [*rows, area_row("b", 224)]})
    for axes in figure.axes:
        first, second, single = (text.get_text() for text in axes.get_legend().get_texts())
        assert first == "a, float32: area to the power of 1.00"
        assert second == "a, bfloat16: area to the power of 1.00"
        assert single == "b, float32"
        assert [len(line.get_xdata()) for line in axes.lines] == [2, 2, 1]


def test_growth_is_drawn_with_the_power_of_the_area():
    sizes = {"a": (1, 1.5), "b": (1, 2)}
    rows = [area_row(name, size, memory, time) for size in (448, 896, 224) for name, (memory, time) in sizes.items()]
    figure = attention_memory.draw({"machine": {"cpu": "of paper"}, "rows": rows})
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    of = "{}: area to the power of {}".format
    assert texts == [[of("a", "1.00"), of("b", "1.00")], [of("a", "1.50"), of("b", "2.00")]]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [224, 448, 896])


def length_row(length, **fields):
    row = {"implementation": "xla", "work": "forward", "length": length, "seconds": 1e-6 * length**2}
    return {**row, "planned_megabytes": 8e-6 * length**2, "seen_megabytes": 9.0, **fields}


def test_lengths_and_the_powers_they_are_drawn_with():
    lengths = 256, 512, 1024, 2048
    rows = [length_row(length, planned_megabytes=64 if length == 256 else length**1.5) for length in lengths]
    rows += [length_row(length, work="gradient") for length in lengths[:-1]]
    rows += [length_row(2048, work="gradient", seconds=None, seen_megabytes=None)]
    figure = attention_length.draw({"machine": {"cpu": "of paper"}, "rows": rows[::-1]})
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert [sorted(text[-3:] for text in some) for some in texts] == [["1.5", "2.0"], ["2.0", "2.0"]]
    (drawn,) = (line for line in figure.axes[1].lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(drawn.get_xydata(), [(length, 1e-6 * length**2) for length in lengths[:-1]])
    crosses = [tuple(found.get_offsets()[0]) for found in figure.axes[0].collections]
    assert sorted(crosses) == sorted((row["length"], 9) for row in rows[:-1])


def test_a_single_length_has_no_power_and_what_was_not_run_no_line():
    rows = [length_row(256), length_row(512, work="gradient", seconds=None, seen_megabytes=None)]
    figure = attention_length.draw({"machine": {}, "rows": rows})
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert texts == [["xla, forward", "xla, gradient"], ["xla, forward"]]
    assert not attention_length.draw({"machine": {}, "rows": rows[1:]}).axes[1].lines


@pytest.mark.skipif(not (attention_length.LINUX / "clear_refs").exists(), reason="Linux alone tells")
def test_what_a_run_takes_is_seen():
    """In a process of its own: one that has run tests may have given back as much by then."""
    run = "np.ones(5 * 10**7, np.uint8).sum()"
    script = f"import numpy as np; from benchmarks.attention_length import taken; print(taken(lambda: {run})[0])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 4.9e7 < int(found.stdout) < 6e7


def test_what_needs_too_much_is_not_run():
    row = attention_length.measure("xla", "gradient", 256, most_bytes=1e6)
    assert 2 * 8 * 256**2 * 4e-6 < row["planned_megabytes"] < 8 * 8 * 256**2 * 4e-6  # matrices of scores, of 8 heads
    assert row["seconds"] is row["seen_megabytes"] is None
    assert attention_length.measure("xla", "forward", 4, most_bytes=1e6)["seconds"] > 0


def test_recurrent_layers_are_all_measured_unless_told_otherwise(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(recurrent, "rows", lambda kind, size, options: [ROW_OF_LAYER | {"kind": kind}])
    for kinds, found in (([], ["LSTM", "GRU", "RNN"]), (["GRU"], ["GRU"])):
        file = tmp_path / f"{len(kinds)}.json"
        monkeypatch.setattr(sys, "argv", ["recurrent", *kinds, "--output", f"{file}"])
        recurrent.main()
        assert [row["kind"] for row in json.loads(file.read_text())["rows"]] == found
    monkeypatch.setattr(sys, "argv", ["recurrent", "GRUS"])
    with pytest.raises(SystemExit):
        recurrent.main()
    assert "unknown kind GRUS: there are LSTM, GRU, RNN" in capsys.readouterr().err


@pytest.mark.parametrize("name", sequences.MODELS)
def test_what_is_written_is_the_likeliest(name):
    size = sequences.Size(vocabulary=7, width=8, depth=1, heads=2, batch=2, length=5)
    model, tokens = sequences.our_model(name, size), size.tokens
    variables = jax.tree.map(lambda leaf: 5 * leaf, jv.init(model, jax.random.key(0)))
    lengths = np.full(2, 5)
    written = np.asarray(sequences._write(model, jnp.asarray(tokens), lengths, variables))
    assert written.shape == (2, 4)
    before = np.concatenate([np.full((2, 1), sequences.START), written[:, :-1]], 1)
    if name in sequences.LANGUAGE_MODELS:
        logits, _ = model.apply(variables, before, train=False)
    else:
        logits = model.apply(variables, Pairs(tokens, lengths, before), train=False)
    np.testing.assert_array_equal(logits.argmax(-1), written)


def test_what_is_written_of_images_is_the_likeliest(monkeypatch):
    monkeypatch.setattr(images_and_sequences, "BACKBONE", "resnet8")
    size = images_and_sequences.Size(vocabulary=7, width=8, depth=1, batch=2, length=4, image=32)
    model, images = images_and_sequences.our_model("captioner", size), size.images("captioner")
    variables = jax.tree.map(lambda leaf: 2 * leaf, jv.init(model, jax.random.key(0)))
    written = np.asarray(images_and_sequences.write(model, 3, variables, images))
    before = np.concatenate([np.full((2, 1), images_and_sequences.START), written[:, :-1]], 1)
    logits = model.apply(variables, CaptionedImages(images, before), train=False)
    np.testing.assert_array_equal(logits.argmax(-1), written)


def test_speeds_are_compared_with_the_best_of_the_others(monkeypatch):
    monkeypatch.setattr("benchmarks.work.medians", lambda runs, seconds: {"jaxvision": 0.5, "a": 1.0, "b": 0.25})
    assert compare({}, 3.0, 8) == ({"jaxvision": 16.0, "a": 8.0, "b": 32.0}, {"ratio": 0.5})
    monkeypatch.setattr("benchmarks.work.medians", lambda runs, seconds: {"jaxvision": 0.5})
    assert compare({}, 3.0, 8) == ({"jaxvision": 16.0}, {})


def test_a_contest_measures_what_the_command_line_names(monkeypatch, tmp_path, capsys):
    runs = []

    def ours(name, work, size):
        return lambda: runs.append((name, work, size))

    size = sequences.Size(vocabulary=7, width=8, depth=1, heads=2, batch=2, length=4)
    theirs = lambda name, work, size: pytest.fail("no peer was asked for")
    contest = Contest({"a": ("infer", "write"), "b": ("infer",)}, ours, theirs, "tokens", lambda size: size.batch)
    file = tmp_path / "rows.json"
    given = ["--work", "infer", "--width", "16", "--seconds", "0", "--output", f"{file}"]
    monkeypatch.setattr(sys, "argv", ["contest", *given])
    contest.main("", "contest", size)
    asked = dataclasses.replace(size, width=16)
    assert set(runs) == {("a", "infer", asked), ("b", "infer", asked)}
    rows = json.loads(file.read_text())["rows"]
    assert [(row["model"], row["work"], row["width"], "ratio" in row) for row in rows] == [
        ("a", "infer", 16, False),
        ("b", "infer", 16, False),
    ]
    assert "tokens/s: jaxvision" in capsys.readouterr().out


@pytest.mark.slow
def test_models_of_images_and_sequences_are_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(images_and_sequences, "BACKBONE", "resnet8")
    sizes = ["--vocabulary", "7", "--width", "8", "--batch", "2", "--length", "3", "--image", "32"]
    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["images_and_sequences", *sizes, "--seconds", "0", "--output", f"{file}"])
    images_and_sequences.main()
    rows = json.loads(file.read_text())["rows"]
    works = [(name, work) for name, works in images_and_sequences.WORK.items() for work in works]
    assert [(row["model"], row["work"]) for row in rows] == works
    assert all(row["examples_per_second"]["jaxvision"] > 0 for row in rows)


@pytest.mark.slow
def test_models_of_sequences_are_measured(monkeypatch, tmp_path):
    sizes = ["--vocabulary", "7", "--width", "8", "--depth", "1", "--heads", "2", "--batch", "2", "--length", "4"]
    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["sequences", *sizes, "--seconds", "0", "--output", f"{file}"])
    sequences.main()
    rows = json.loads(file.read_text())["rows"]
    assert [(row["model"], row["work"]) for row in rows] == list(itertools.product(sequences.MODELS, sequences.WORK))
    assert all(row["tokens_per_second"]["jaxvision"] > 0 for row in rows)
