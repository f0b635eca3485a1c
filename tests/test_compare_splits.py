"""Splits that are alike and splits that are not."""

import numpy as np
import pytest
from PIL import Image

from train.compare_splits import Options, coarse, compare, compare_images, compare_labels, detail, main

RANDOM = np.random.RandomState(0)


def test_shares_of_classes():
    assert compare_labels(np.array([[10, 20, 30], [100, 200, 300]])) == pytest.approx(1)
    # 2x2: the statistic is n (ad - bc)^2 / ((a+b)(c+d)(a+c)(b+d)) = 4, whose p-value is erfc(sqrt(2)).
    assert compare_labels(np.array([[60, 40], [40, 60]])) == pytest.approx(0.004678, rel=1e-3)
    assert compare_labels(np.array([[5, 0], [9, 0]])) == 1


def test_images_of_one_kind_cannot_be_told_apart():
    first, second = RANDOM.randn(2, 300, 20)
    auroc, p = compare_images(first, second)
    assert abs(auroc - 0.5) < 0.08
    assert p > 0.01


def test_a_shift_is_found():
    """Of two Gaussians a distance d apart the best classifier has an AUROC of Phi(d / sqrt 2)."""
    first, second = RANDOM.randn(2, 2000, 5)
    second[:, 2] += 1.0
    auroc, p = compare_images(first, second)
    assert auroc == pytest.approx(0.7602, abs=0.02)
    assert p < 1e-20


def test_coarse_pictures_are_means():
    images = RANDOM.randint(0, 255, (2, 16, 24, 3)).astype(np.uint8)
    cells = coarse(images).reshape(2, 8, 8, 3)
    np.testing.assert_allclose(cells[1, 3, 5], images[1, 6:8, 15:18].mean((0, 1)), rtol=1e-6)
    assert coarse(images[:, :4, :4]).shape == (2, 4 * 4 * 3)


def test_detail_is_the_mean_difference_of_neighbours():
    stripes = np.tile(np.uint8([0, 10, 0, 10]), (1, 8, 4))[..., None]  # [1, 8, 16, 1], alike from row to row
    down, across = detail(stripes).reshape(2, 3)
    np.testing.assert_allclose(down, 0)
    np.testing.assert_allclose(across, np.log1p([10, 0, 0]), rtol=1e-6)


@pytest.mark.parametrize("change", ["noise", "resolution"])
def test_images_of_the_same_means_are_told_apart(change):
    images = 100 + 20 * RANDOM.randn(2, 100, 16, 16, 3)
    if change == "noise":
        images[1] += 10 * RANDOM.randn(*images[1].shape)
    else:
        images[1] = np.repeat(np.repeat(images[1, :, ::2, ::2], 2, 1), 2, 2)
    first, second = (np.concatenate([coarse(part), detail(part)], 1) for part in images.clip(0, 255).astype(np.uint8))
    auroc, p = compare_images(first, second)
    assert auroc > 0.95
    assert p < 1e-20


def test_the_digits_are_dealt_out_evenly():
    counts, classes, comparisons = compare(Options())
    assert [number.sum() for number in counts.values()] == [1078, 360, 359]
    assert classes == tuple("0123456789")
    assert all(found.labels_p > 0.9 and found.images_p > 0.001 for found in comparisons)


def test_brighter_test_images_are_flagged(tmp_path, capsys):
    for split, base in (("train", 90), ("val", 90), ("test", 120)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(15):
                pixels = (base + 20 * RANDOM.randn(8, 8, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    arguments = ["--data", "folder", "--data-dir", str(tmp_path), "--output", str(tmp_path / "shares.png")]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    rows = [line for line in capsys.readouterr().out.splitlines() if " and " in line]
    assert ["DIFFERENT" in row for row in rows] == [False, True, True]
    assert (tmp_path / "shares.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="File exists"):
        main(arguments)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="--most must be 20 or more"):
        Options(most=3)
    with pytest.raises(ValueError, match="--significance must be between 0 and 1"):
        Options(significance=0)
    for split, number in (("train", 12), ("val", 12), ("test", 3)):
        (tmp_path / split / "cat").mkdir(parents=True)
        for index in range(number):
            Image.new("RGB", (8, 8)).save(tmp_path / split / "cat" / f"{index}.png")
    with pytest.raises(ValueError, match="the test split has 3 images; 10 are the least"):
        compare(Options(data="folder", data_dir=tmp_path))
