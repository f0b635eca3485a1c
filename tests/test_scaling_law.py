"""The study of language models of several sizes, as small as it can be."""

import dataclasses
import json
import sys

import pytest

from train.configs import scaling_law


@pytest.mark.slow
def test_a_study(tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(scaling_law.CONFIG, max_characters=300_000, batch_size=4)
    for name, value in {
        "CONFIG": config,
        "WIDTHS": {"lstm": (4, 8)},
        "CHARACTERS": (2000, 4000, 8000),
        "LARGER": {"lstm": 12},
        "MORE_CHARACTERS": 16_000,
        "DRAWS": 3,
    }.items():
        monkeypatch.setattr(scaling_law, name, value)
    monkeypatch.setattr(sys, "argv", ["scaling_law", "--models", "lstm", "--run-dir", f"{tmp_path}"])
    scaling_law.main()
    found = json.loads((tmp_path / "scaling_law.json").read_text())["lstm"]
    assert len(found["points"]) == 6
    small, *_, large = found["points"]
    vocabulary = json.loads((tmp_path / "lstm-4-2000" / "model.json").read_text())["model"]["vocabulary_size"]
    assert small["parameters"] == vocabulary * 2 + 4 * (4 * (2 + 4) + 8) + (4 + 1) * vocabulary
    assert large["loss"] < small["loss"]
    assert found["prediction_interval"][0] <= found["prediction_interval"][1]
    prediction = json.loads((tmp_path / "lstm-prediction.json").read_text())
    assert prediction["prediction"] == found["prediction"]
    assert "larger" not in prediction
    assert "predicted" in capsys.readouterr().out
    assert (tmp_path / "scaling_law.png").stat().st_size > 10_000
