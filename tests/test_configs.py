"""What the recorded runs claim."""

import json

import numpy as np
import pytest

import jaxvision as jv
from train.configs import digits, residual_depth


def test_depth_hurts_plain_networks_and_not_residual_ones():
    errors = {name: np.array(curves) for name, curves in json.loads(residual_depth.RECORD.read_text()).items()}
    assert all(curves.shape == (3, residual_depth.CONFIG.epochs) for curves in errors.values())
    final = {name: curves[:, -1] for name, curves in errors.items()}
    assert final["plain56"].min() > final["plain20"].max()
    assert final["resnet56"].mean() <= final["resnet20"].mean()
    assert residual_depth.RECORD.with_suffix(".png").exists()


def test_figure_shows_the_errors_at_the_end():
    errors = {f"{kind}{depth}": [[0.5, 0.25], [0.5, 0.35]] for kind in ("plain", "resnet") for depth in (8, 20, 56)}
    labels = [text.get_text() for text in residual_depth.draw(errors).axes[1].get_legend().get_texts()]
    assert labels == [f"{depth} layers: 30.00 %" for depth in (8, 20, 56)]


@pytest.mark.parametrize("name", jv.list_models())
def test_every_model_has_a_recipe_for_the_digits(name):
    config = digits.recipe(name)
    assert config.model == name
    assert config.data == "digits"


def test_lenet_reaches_its_score_on_every_seed():
    scores = json.loads(digits.SCORES.read_text())["lenet5"]["test_accuracy"]
    assert len(scores) == 10
    assert min(scores) >= 0.98
    assert np.mean(scores) >= 0.985
