"""Images with captions: what scenes show and what is said of them, and files in COCO's layout."""

import json

import numpy as np
import pytest
from PIL import Image

from train.data import scenes
from train.data.captions import framed, load_captions, plain
from train.data.image_files import ReadingConfig
from train.data.images import ImageSet, Split
from train.data.parallel import END, PAD, START, UNKNOWN


def shining(digit):
    """What a digit of `POOL` shines like."""
    return 20 * (digit + 1)


POOL = Split(np.stack([np.full((8, 8, 1), shining(digit), np.uint8) for digit in range(10)]), np.arange(10))


def groups_of(canvas):
    """Returns, of each digit that a canvas of `POOL` shows, how often it is there, its sizes, and its middle."""
    found = {}
    for digit in range(10):
        mask = canvas == shining(digit)
        if mask.any():
            found[digit] = mask.sum(), np.argwhere(mask).mean(0)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_what_is_said_of_a_scene_is_so(seed):
    canvas, captions = scenes.scene(np.random.RandomState(seed), POOL)
    found, large = groups_of(canvas), scenes.LARGE[0] ** 2
    for caption in captions:
        words = caption.split()
        groups = [words[:3]] + ([words[-3:]] if len(words) > 3 else [])
        said = []
        for count, size, name in groups:
            several, big = count == "two", size == "large"
            digit = scenes.NAMES.index(name.removesuffix("es" if name == "sixes" else "s") if several else name)
            area = found[digit][0] / (1 + several)
            assert area >= large if big else area <= scenes.SMALL[1] ** 2
            said.append(digit)
        assert sorted(said) == sorted(found)
        if len(words) > 3:
            first, second = (found[digit][1] for digit in said)
            down, right = second - first
            relation = " ".join(words[3:-3])
            assert {"left of": right, "right of": -right, "above": down, "below": -down}[relation] > 0
            assert (abs(right) > abs(down)) == relation.endswith("of")
    assert len(set(captions)) == len(found)


def test_scenes_are_the_same_every_time_and_of_the_digits_of_their_split(monkeypatch):
    monkeypatch.setattr(scenes, "SIZES", {"train": 20, "val": 6, "test": 6})
    (first, captions), (again, same) = (scenes.generate(0)["train"] for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    assert captions == same
    shines = {"train": 50, "val": 100, "test": 150}
    splits = (Split(np.full((10, 8, 8, 1), value, np.uint8), np.arange(10)) for value in shines.values())
    monkeypatch.setattr(scenes.digits, "load", lambda directory, size: ImageSet(tuple("0123456789"), *splits))
    for name, (images, _) in scenes.generate(0).items():
        assert np.unique(images.images).tolist() == [0, shines[name]]


def coco(directory, **captions):
    """Writes a part of COCO for each keyword: by image, its captions."""
    (directory / "annotations").mkdir()
    for part, several in captions.items():
        (directory / part).mkdir()
        images = [{"id": 100 + n, "file_name": f"{n:03}.png"} for n in range(len(several))]
        for n, row in enumerate(images):
            Image.new("RGB", (8, 8), (10 * n, 0, 0)).save(directory / part / row["file_name"])
        rows = [{"image_id": 100 + n, "caption": text} for n, texts in enumerate(several) for text in texts]
        content = json.dumps({"images": images[::-1], "annotations": rows})
        (directory / "annotations" / f"captions_{part}.json").write_text(content)
    return directory


def load(directory):
    return load_captions("coco", directory, 8, ReadingConfig(workers=0), **LIMITS)


LIMITS = {"min_count": 5, "max_words": 100, "max_length": 4}
MANY = [[f"A Man, riding no. {n}.", "two", "x", "y", "z", "w"][: 6 if n == 3 else 1] for n in range(20)]
FEW = [["a dog", "A dog runs and runs and runs!"], ["a man"]]


def test_captions_and_images_of_coco_belong_together(tmp_path):
    data = load(coco(tmp_path, train2017=MANY, val2017=FEW))
    assert {len(data.train), len(data.val), len(data.test)} == {18, 2}
    by_file = {}
    for split in (data.train, data.val):
        batch = next(split.images.batches(lambda _: np.arange(len(split)), 0, 1))  # noqa: B023
        for image, place in zip(batch["image"], batch["label"], strict=True):
            by_file[int(image[0, 0, 0]) // 10] = split.references[place], split.tokens[place]
    assert sorted(by_file) == list(range(20))
    for n, (references, tokens) in by_file.items():
        assert references == [plain(text) for text in MANY[n]]
        words = data.vocabulary.encode(f"a man riding no {n}")
        assert tokens[0, :6].tolist() == [START, *words[:4], END]  # cut off after --max-length
        assert (tokens[:, 0] == START).sum() == min(len(MANY[n]), 5)
    assert data.num_cut == 20 + 1  # of each image one of "a man riding no n", and of the others the one of seven words
    assert data.test.references == [["a dog", "a dog runs and runs and runs"], ["a man"]]
    expected = [START, *data.vocabulary.encode("a"), UNKNOWN, END]
    assert data.test.tokens[0, 0].tolist() == expected + [PAD] * (data.test.tokens.shape[-1] - 4)


def test_captions_are_framed():
    assert framed([[7, 8], []], 3).tolist() == [[START, 7, 8, END, PAD], [START, END, PAD, PAD, PAD]]


@pytest.mark.parametrize(("content", "message"), [
    (b'{"images":\n ["\xe9"]}', "captions_val2017.json, line 2: byte 14 is 0xe9, which is no UTF-8"),
    (b'{"images": [], "annotations": []}', "captions_val2017.json lists no image"),
    (b"{", "captions_val2017.json is not a file of COCO's captions: "),
    (b"[]", "captions_val2017.json is not a file of COCO's captions: "),
    (b'{"images": []}', "captions_val2017.json is not a file of COCO's captions: there is no 'annotations'"),
    (b'{"images": [], "annotations": [{"image_id": 3, "caption": "a"}]}', "COCO's captions: there is no 3"),
    (b'{"images": [{"id": 3, "file_name": "3.png"}], "annotations": [{"image_id": 3, "caption": "a"}, '
     b'{"image_id": 3, "caption": null}]}',
     r"captions_val2017.json is not a file .*: annotations\[1\] has the caption None, a text was expected"),
    (b'{"images": [{"id": 3, "file_name": "3.png"}], "annotations": [{"image_id": 3, "caption": 7}]}',
     r"captions_val2017.json is not a file .*: annotations\[0\] has the caption 7, a text was expected"),
    (b'{"images": [{"id": 3, "file_name": "3.png"}], "annotations": []}', "1 of 1 images have no caption, .*3.png"),
])  # fmt: skip
def test_damaged_captions(tmp_path, content, message):
    coco(tmp_path, train2017=MANY, val2017=FEW)
    (tmp_path / "annotations" / "captions_val2017.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(("name", "directory", "size", "message"), [
    ("cocoa", None, 24, "unknown set of captions 'cocoa'; did you mean coco"),
    ("coco", None, 24, "--data coco needs --data-dir"),
    ("scenes", "somewhere", 24, "--data scenes makes its own: it takes no --data-dir, got somewhere"),
    ("scenes", None, 32, "--data scenes is of 24x24 pixels, got --image-size 32"),
])  # fmt: skip
def test_data_that_cannot_be(name, directory, size, message):
    with pytest.raises(ValueError, match=message):
        load_captions(name, directory, size, ReadingConfig(), **LIMITS)


def test_too_few_photographs_to_hold_some_out(tmp_path):
    with pytest.raises(ValueError, match="a tenth of 9 images is none to validate with"):
        load(coco(tmp_path, train2017=MANY[:9], val2017=FEW))
