"""Logistic regression against automatic differentiation, scikit-learn and its own loop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tests.test_cifar_images import write
from train import logistic_regression
from train.data.cifar import CLASSES
from train.data.images import Split
from train.logistic_regression import Examples, Options, Unit, accuracy, balanced, fit, gradient, gradient_by_loop

RANDOM = np.random.RandomState(0)
INPUTS = RANDOM.normal(size=(60, 5))
LABELS = (INPUTS @ [1, -2, 0.5, 0, 1] + RANDOM.logistic(size=60) > 0.3).astype(np.float64)
EXAMPLES, UNIT = Examples(INPUTS, LABELS), Unit(RANDOM.normal(size=5), 0.4)


@pytest.mark.parametrize("way", [gradient, gradient_by_loop])
def test_gradient_is_that_of_automatic_differentiation(way):
    def mean_loss(weights, bias):
        return optax.sigmoid_binary_cross_entropy(jnp.asarray(INPUTS) @ weights + bias, LABELS).mean()

    with jax.enable_x64(True):
        loss, expected = jax.value_and_grad(mean_loss, argnums=(0, 1))(jnp.asarray(UNIT.weights), UNIT.bias)
    found_loss, found = way(UNIT, EXAMPLES)
    assert found_loss == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-11)
    assert found.bias == pytest.approx(float(expected[1]), rel=1e-11)


@pytest.mark.filterwarnings("error")
def test_large_logits_do_not_overflow():
    unit, examples = Unit(np.float32([1000]), 0.0), Examples(np.float32([[1], [-1], [1]]), np.float32([1, 0, 0]))
    for way in (gradient, gradient_by_loop):
        loss, change = way(unit, examples)
        assert loss == pytest.approx(1000 / 3)
        assert (change.weights[0], change.bias) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_descent_ends_where_scikit_learn_does():
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(INPUTS, LABELS)
    unit, records = fit(EXAMPLES, EXAMPLES, steps=4000, learning_rate=1.0, log_every=1000)
    np.testing.assert_allclose(unit.weights, theirs.coef_[0], rtol=1e-5)
    assert unit.bias == pytest.approx(theirs.intercept_[0], rel=1e-5)
    assert accuracy(unit, EXAMPLES) == theirs.score(INPUTS, LABELS)
    assert [record["step"] for record in records] == [0, 1000, 2000, 3000, 4000]
    assert records[0]["train/loss"] == pytest.approx(np.log(2))
    assert records[-1]["train/accuracy"] == accuracy(unit, EXAMPLES)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["logistic_regression", *map(str, arguments)])
    logistic_regression.main()


def test_command_learns_cats_that_are_brighter(tmp_path, monkeypatch, capsys):
    folder, output = tmp_path / "train", tmp_path / "curves.png"
    write(folder, 20)
    for file in (folder / "cat").iterdir():
        Image.new("RGB", (32, 32), (250, 250, 250)).save(file)
    run(monkeypatch, "--data-dir", tmp_path, "--examples", 20, "--steps", 50, "--output", output)
    printed = capsys.readouterr().out
    assert "gradient over 20 examples of 3,072 numbers: loop " in printed
    assert "accuracy: train 100.00%, test 100.00%" in printed
    before = output.read_bytes()
    assert before.startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="exists: give another --output, or --overwrite"):
        run(monkeypatch, "--data-dir", tmp_path, "--output", output)
    assert output.read_bytes() == before
    with pytest.raises(SystemExit, match="--examples 40 takes 20 cats, there are 16"):
        run(monkeypatch, "--data-dir", tmp_path, "--examples", 40, "--output", tmp_path / "no.png")


def test_half_of_the_examples_are_cats():
    labels = np.repeat(np.arange(10, dtype=np.int32), 6)
    images = np.repeat(labels, 12).astype(np.uint8).reshape(60, 2, 2, 3)
    chosen = balanced(Split(images, labels), CLASSES.index("cat"), 8, seed=0)
    assert sorted(chosen.labels) == [0] * 4 + [1] * 4
    assert ((chosen.images[:, 0, 0, 0] == 3) == (chosen.labels == 1)).all()
    other = balanced(Split(images, labels), CLASSES.index("cat"), 8, seed=1)
    assert (chosen.images != other.images).any()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("examples", 1, "--examples must be 2 or more, got 1"),
        ("steps", 0, "--steps must be 1 or more, got 0"),
        ("seed", -1, "--seed must be 0 or more, got -1"),
        ("seed", 2**32, "--seed must be 4294967295 or less, got 4294967296"),
        ("learning_rate", 0.0, "--learning-rate must be above 0, got 0.0"),
        ("learning_rate", math.nan, "--learning-rate must be finite, got nan"),
        ("learning_rate", math.inf, "--learning-rate must be finite, got inf"),
    ],
)
def test_options_that_cannot_be(option, value, message):
    with pytest.raises(ValueError, match=message):
        Options(data_dir=".", **{option: value})
