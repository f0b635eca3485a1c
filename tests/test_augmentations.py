"""The contact sheet of augmentations."""

import numpy as np
import pytest
from PIL import Image

from jaxvision import augment
from train import augmentations
from train.augmentations import GAP, LABEL, Options


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["augmentations", *map(str, arguments)])
    augmentations.main()


@pytest.fixture
def two_rows(monkeypatch):
    """Spares the tests the compilation of all."""
    rows = {"original": lambda key, images: images, "inverted": lambda key, images: 1 - images}
    monkeypatch.setattr(augmentations, "augmentations", lambda size: rows)


def test_sheet_holds_every_draw_of_every_augmentation(tmp_path, monkeypatch, two_rows):
    photos = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path, color in zip(photos, ((200, 0, 0), (0, 0, 200)), strict=True):
        Image.new("RGB", (60, 30), color).save(path)
    output = tmp_path / "sheet.png"
    run(monkeypatch, *photos, "--output", output, "--draws", 3, "--size", 16)
    sheet = np.asarray(Image.open(output))
    assert sheet.shape == (2 * (16 + GAP) + GAP, LABEL + 3 * (16 + GAP) + GAP, 3)
    centers = sheet[GAP + 8 :: 16 + GAP][:2, LABEL + GAP + 8 :: 16 + GAP]
    np.testing.assert_array_equal(centers[0], [(200, 0, 0), (0, 0, 200), (200, 0, 0)])
    np.testing.assert_array_equal(centers[1], 255 - centers[0])
    assert sheet[:, :LABEL].min() < 100  # the names


def test_nothing_is_overwritten_unasked(tmp_path, monkeypatch, two_rows):
    output = tmp_path / "sheet.png"
    output.write_text("mine")
    with pytest.raises(SystemExit, match="exists: give another --output, or --overwrite"):
        run(monkeypatch, "--output", output)
    assert output.read_text() == "mine"
    run(monkeypatch, "--output", output, "--overwrite", "--draws", 1, "--size", 16)
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.png"], "no.png cannot be read as an image"),
        (["--output", "missing/sheet.png"], "missing/sheet.png"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, two_rows, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "least"), [("size", 16), ("draws", 1), ("seed", 0)])
def test_options_have_a_least_value(option, least):
    with pytest.raises(ValueError, match=f"--{option} must be {least} or more, got {least - 1}"):
        Options(**{option: least - 1})


def test_seeds_have_a_largest_value():
    with pytest.raises(ValueError, match="--seed must be 9223372036854775807 or less, got 9223372036854775808"):
        Options(seed=2**63)


def test_every_augmentation_is_on_the_sheet():
    names = {name for name in augment.__all__ if name.startswith("random_")} | {"color_jitter", "cutout"}
    names |= {"mixup", "cutmix", "original", *augment.RECIPES}
    assert set(augmentations.augmentations(Options.size)) == names
