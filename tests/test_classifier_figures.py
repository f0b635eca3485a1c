"""Pictures of groups of parameters and of a teacher, of numbers made by hand."""

import numpy as np
import pytest

from train.classifier_figures import agreement, draw_groups, draw_teacher, group_changes

RECORDS = [
    {"step": 10, "epoch": 1.0, "learning_rate": 0.4, "val/accuracy": 0.5},
    {"step": 15, "epoch": 1.5, "learning_rate": 0.3},
    {"step": 20, "epoch": 2.0, "learning_rate": 0.1, "val/accuracy": 0.75},
    {"step": 30, "epoch": 3.0, "learning_rate": 0.0, "val/accuracy": 0.625},
]
FACTORS = {"backbone": 0.1, "backbone/conv1": 0.0}


def bars_of(axes):
    names = [label.get_text() for label in axes.get_yticklabels()]
    widths = [bar.get_width() for bar in axes.containers[0]]
    return dict(zip(names, widths, strict=True)), [text.get_text() for text in axes.texts]


def test_changes_are_the_root_of_the_mean_square_over_a_group():
    start = {"backbone": {"conv1": {"kernel": np.ones((2, 3))}, "conv2": {"kernel": np.zeros(3), "bias": np.zeros(1)}}}
    end = {"backbone": {"conv1": {"kernel": np.ones((2, 3))}, "conv2": {"kernel": np.ones(3), "bias": np.full(1, 5)}}}
    rest = {"head": {"kernel": np.array([1.0, 1.0])}}, {"head": {"kernel": np.array([4.0, 5.0])}}
    expected = {"backbone": np.sqrt((3 + 25) / 4), "backbone/conv1": 0.0}
    assert group_changes(start, end, FACTORS) == pytest.approx(expected, rel=1e-12)
    changes = group_changes(start | rest[0], end | rest[1], FACTORS)
    assert changes == pytest.approx(expected | {"": np.sqrt((9 + 16) / 2)}, rel=1e-12)
    assert list(changes) == ["backbone", "backbone/conv1", ""]


def test_groups_have_their_rates_and_their_changes():
    rates, moved = draw_groups(RECORDS, FACTORS, {"backbone": 0.5, "backbone/conv1": 0.0, "": 2.25}).axes
    drawn = [line.get_xydata()[:, 1].tolist() for line in rates.lines]
    np.testing.assert_allclose(drawn, [[0.04, 0.03, 0.01, 0], [0, 0, 0, 0], [0.4, 0.3, 0.1, 0]], rtol=1e-12)
    assert rates.lines[0].get_xdata().tolist() == [1, 1.5, 2, 3]
    bars, labels = bars_of(moved)
    assert bars == {"backbone, × 0.1": 0.5, "backbone/conv1, × 0": 0.0, "all others, × 1": 2.25}
    assert labels == ["0.5", "as they were", "2.2"]
    colors = [bar.get_facecolor() for bar in moved.containers[0]]
    assert len(set(colors)) == 3


def test_student_and_teacher_are_counted_case_by_case():
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    answers = np.array([0, 1, 2, 3, 0, 0, 0, 0])
    told = np.array([0, 1, 2, 0, 4, 0, 0, 1])
    shares = agreement(answers, told, labels)
    assert list(shares.values()) == [3 / 8, 1 / 8, 1 / 8, 2 / 8, 1 / 8]
    curve, bars = draw_teacher(RECORDS, 0.9, shares).axes
    assert curve.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.75], [3, 0.625]]
    assert list(curve.lines[1].get_ydata()) == [0.9, 0.9]
    assert [text.get_text() for text in curve.get_legend().get_texts()] == ["student, at best 75.00%", "teacher 90.00%"]
    assert bars_of(bars)[0] == shares
    assert bars.get_title(loc="left") == "test split: the same answer for 62.50%"
    assert sum(shares.values()) == 1
    assert shares["both right"] + shares["student alone right"] == (answers == labels).mean()
