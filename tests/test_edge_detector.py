"""Filters found again by gradient descent: what SciPy makes of a photograph, and the kernels of the textbooks."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from train import edge_detector
from train.data.photograph import grey, read_photo
from train.edge_detector import Options, learn_filter

IMAGE = grey(read_photo(None)[:160, :240])
SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
SCHARR = [[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]]


@pytest.mark.parametrize(
    ("filtered", "known"),
    [
        (ndimage.sobel(IMAGE, 1), SOBEL),
        (ndimage.sobel(IMAGE, 0), np.transpose(SOBEL)),
        (ndimage.correlate1d(ndimage.correlate1d(IMAGE, [3, 10, 3], 0), [-1, 0, 1], 1), SCHARR),
        (IMAGE, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),  # whose sum is not zero: the bias is needed
    ],
)
def test_the_known_filter_is_found(filtered, known):
    learnt, errors = learn_filter(IMAGE, filtered[1:-1, 1:-1])
    np.testing.assert_allclose(learnt, known, atol=1e-5 * np.abs(known).max())
    assert errors.shape == (400,)
    assert errors[-1] < 1e-10 < 0.1 < errors[0]


def test_the_beginning_is_the_seeds():
    filtered = ndimage.sobel(IMAGE, 1)[1:-1, 1:-1]
    first, again, other = (learn_filter(IMAGE, filtered, steps=1, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize(("image", "filtered"), [(np.ones((5, 5)), np.ones((3, 3))), (IMAGE[:5, :5], np.zeros((3, 3)))])
def test_nothing_is_learnt_from_nothing(image, filtered):
    with pytest.raises(ValueError, match="the same everywhere"):
        learn_filter(image, filtered)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["edge_detector", *map(str, arguments)])
    edge_detector.main()


def test_command_prints_learnt_beside_known(tmp_path, monkeypatch, capsys):
    photo = tmp_path / "photo.png"
    Image.fromarray(read_photo(None)[:100, :160]).save(photo)
    run(monkeypatch, "--filter", "scharr", "--photo", photo)
    lines = capsys.readouterr().out.splitlines()
    rows = [[float(number) for number in lines[index].split()] for index in (1, 2, 3, 5, 6, 7)]
    np.testing.assert_allclose(rows[:3], SCHARR, atol=0.001)
    assert rows[3:] == SCHARR
    assert lines[8].startswith("largest error ")
    assert float(lines[8].split()[2].rstrip(",")) < 0.001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--photo", "no.png"], "no.png cannot be read as an image"),
        (["--photo", "small.png"], r"--photo small.png is smaller than the filter of \(3, 3\): \(2, 9\)"),
        (["--photo", "black.png"], "the same everywhere"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 2)).save("small.png")
    Image.new("RGB", (9, 9)).save("black.png")
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *arguments)


@pytest.mark.parametrize(("option", "least"), [("steps", 1), ("seed", 0)])
def test_options_have_a_least_value(option, least):
    with pytest.raises(ValueError, match=f"--{option} must be {least} or more, got {least - 1}"):
        Options(**{option: least - 1})


def test_seeds_have_a_largest_value():
    with pytest.raises(ValueError, match="--seed must be 9223372036854775807 or less, got 9223372036854775808"):
        Options(seed=2**63)
