"""The head alone, trained on features: scikit-learn's answers, and a run like any other."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train import linear_probe
from train.data.digits import load
from train.evaluate import Options as EvaluateOptions
from train.evaluate import evaluate
from train.linear_probe import PENALTIES, Options, fit_head, probe
from train.predict import Classifier
from train.shared.run import RunError, start_run


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_head_gives_the_answers_of_the_regression(num_classes):
    random = np.random.RandomState(0)
    labels = {"train": np.arange(120) % num_classes, "val": np.arange(60) % num_classes}
    centres = 2 * random.randn(num_classes, 6) + 5
    scales = np.array([1, 10, 0.1, 1, 1, 0])  # the last feature never varies
    features = {name: (centres[y] + random.randn(len(y), 6)) * scales for name, y in labels.items()}
    head, found = fit_head(features, labels, num_classes)
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in PENALTIES]
    scores = [model.fit(features["train"], labels["train"]).score(features["val"], labels["val"]) for model in models]
    assert found == dict(zip(PENALTIES, scores, strict=True))
    logits = features["val"] @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = models[int(np.argmax(scores))].predict_proba(features["val"])
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def test_a_class_without_images():
    features, labels = {"train": np.eye(3), "val": np.eye(3)}, {"train": np.array([0, 2, 2]), "val": np.arange(3)}
    with pytest.raises(ValueError, match="no training image is of class 1"):
        fit_head(features, labels, 3)


def test_random_features_of_the_digits(tmp_path, monkeypatch, capsys):
    options = Options(run_dir=tmp_path / "run")
    result = probe(options)
    assert result["test_accuracy"] > 0.9  # of features that nobody trained
    data = load(None, 32)
    probabilities = Classifier(tmp_path / "run")(data.test.images)
    assert np.mean(probabilities.argmax(1) == data.test.labels) == pytest.approx(result["test_accuracy"])
    scores = evaluate(EvaluateOptions(tmp_path / "run"))
    assert scores["step"] == 0
    assert scores["accuracy"] == result["test_accuracy"]
    with pytest.raises(RunError, match="run keeps its best weights and no checkpoints: give --checkpoint best"):
        evaluate(EvaluateOptions(tmp_path / "run", checkpoint="latest"))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "C = " in page
    assert "by penalty" in page
    assert "Learning curves" not in page
    monkeypatch.setattr(linear_probe, "fit_head", None)  # a complete run is not run again
    monkeypatch.setattr(sys, "argv", ["probe", "--run-dir", str(tmp_path / "run")])
    linear_probe.main()
    assert capsys.readouterr().out == f"test accuracy {result['test_accuracy']:.2%}\n"
    with pytest.raises(RunError, match="seed: 0 there, 1 asked for"):
        probe(Options(run_dir=tmp_path / "run", seed=1))


def test_a_run_that_has_kept_nothing_cannot_be_scored(tmp_path):
    with start_run(tmp_path, Options().config), pytest.raises(RunError, match="has no checkpoints yet"):
        evaluate(EvaluateOptions(tmp_path))


@pytest.mark.parametrize("model", ["nin", "squeezenet1_1"])
def test_a_model_of_class_maps(model, tmp_path, monkeypatch):
    monkeypatch.setattr(linear_probe.classification, "build", None)  # it is refused before
    with pytest.raises(ValueError, match=f"--model {model} makes its logits of class maps.*--group-rates backbone=0"):
        probe(Options(model=model, run_dir=tmp_path / "run"))


def test_a_model_without_such_a_head(tmp_path):
    with pytest.raises(ValueError, match="--model airbench94 has no linear head with a bias"):
        probe(Options(model="airbench94", run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
