"""Folders of images: their layouts, how an image is decoded, and what happens to those that cannot be."""

import logging
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reference import make_decoded
from train.data import load_images
from train.data.image_files import BadImagesError, ReadingConfig
from train.data.images import Preprocessing, read_image, resize
from train.shared.feed import ShuffledOrder


def write_image(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    """An image of one colour, which tells where it comes from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 255 - value)).save(path)


def write_classes(directory: Path, count: int, first: int = 0, classes=("cat", "dog", "owl")) -> None:
    for label, name in enumerate(classes):
        for i in range(count):
            write_image(directory / name / f"{i}.png", first + label * count + i)


def all_of(split, batch_size=4):
    order = lambda step: np.arange(step * batch_size, min((step + 1) * batch_size, len(split)))
    batches = list(split.batches(order, 0, -(-len(split) // batch_size)))
    return np.concatenate([batch["image"] for batch in batches]), np.concatenate([batch["label"] for batch in batches])


def names(split, directory):
    return [str(Path(file).relative_to(directory)) for file in split.files]


# Layouts


def test_classes_alone_are_split_like_the_digits(tmp_path):
    write_classes(tmp_path, 10)
    data = load_images("folder", tmp_path, 8)
    assert data.classes == ("cat", "dog", "owl")
    assert [np.bincount(split.labels).tolist() for split in (data.train, data.val, data.test)] == [
        [6] * 3,
        [2] * 3,
        [2] * 3,
    ]
    files = [name for split in (data.train, data.val, data.test) for name in names(split, tmp_path)]
    assert sorted(files) == sorted(f"{name}/{i}.png" for name in data.classes for i in range(10))
    assert all(
        data.classes[label] == name.split("/")[0]
        for label, name in zip(data.val.labels, names(data.val, tmp_path), strict=True)
    )
    images, labels = all_of(data.train)
    np.testing.assert_array_equal(labels, data.train.labels)
    values = [10 * label + int(Path(file).stem) for label, file in zip(labels, data.train.files, strict=True)]
    assert images.shape == (18, *data.shape)
    assert images[:, 3, 5, 0].tolist() == values
    again = load_images("folder", tmp_path, 8, shares=(0.8, 0.1, 0.1))
    assert [len(split) for split in (again.train, again.val, again.test)] == [24, 3, 3]
    assert sorted(again.train.files + again.val.files + again.test.files) == sorted(str(tmp_path / f) for f in files)
    assert all(
        again.classes[n] == Path(f).parent.name for f, n in zip(again.train.files, again.train.labels, strict=True)
    )
    # The split that a later run must find again.
    assert names(data.test, tmp_path)[:4] == names(load_images("folder", tmp_path, 8).test, tmp_path)[:4]


@pytest.mark.parametrize(
    ("val", "test", "counts"),
    [
        ("val", "test", [20, 3, 3]),
        ("valid", None, [18, 3, 2]),
        ("validation", None, [18, 3, 2]),
        (None, "test", [18, 2, 3]),
        (None, None, [16, 2, 2]),
    ],
)
def test_what_is_missing_is_cut_off_train(tmp_path, val, test, counts):
    write_classes(tmp_path / "train", 20)
    for name in filter(None, (val, test)):
        write_classes(tmp_path / name, 3)
    data = load_images("folder", tmp_path, 8)
    assert [np.bincount(split.labels).tolist() for split in (data.train, data.val, data.test)] == [
        [n] * 3 for n in counts
    ]
    folders = [{Path(name).parts[0] for name in names(split, tmp_path)} for split in (data.train, data.val, data.test)]
    assert folders == [{"train"}, {val or "train"}, {test or "train"}]
    files = [name for split in (data.train, data.val, data.test) for name in split.files]
    assert len(set(files)) == len(files)


def test_a_class_may_be_called_train_and_images_may_lie_deeper(tmp_path):
    write_classes(tmp_path, 5, classes=("car", "train"))
    for i in range(5):
        write_image(tmp_path / "bus" / "red" / f"{i}.JPG", i)
    (tmp_path / "bus" / "notes.txt").write_text("no image")
    (tmp_path / "bus" / "._0.jpg").write_text("left by a Mac")
    (tmp_path / ".thumbnails").mkdir()
    data = load_images("folder", tmp_path, 8)
    assert data.classes == ("bus", "car", "train")
    assert len(data.train) + len(data.val) + len(data.test) == 15


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: (path / "gnu").mkdir(), r"no images in .*/gnu"),
        (lambda path: (path / "train" / "owl").mkdir(parents=True), r"no images in .*/train/owl"),
        (lambda path: write_classes(path / "val", 2), r"there is .*/val but no .*/train"),
        (
            lambda path: [write_classes(path / name, 9) for name in ("train", "val", "valid")],
            "val and .*/valid are the same split",
        ),
        (
            lambda path: [write_classes(path / "train", 9), write_classes(path / "val", 2, classes=("cat", "gnu"))],
            r"/val has classes that .*/train has not: gnu",
        ),
    ],
)
def test_bad_layouts_are_named(tmp_path, prepare, message):
    write_classes(tmp_path, 5)
    prepare(tmp_path)
    with pytest.raises(ValueError, match=f"--data folder --data-dir .*{message}"):
        load_images("folder", tmp_path, 8)


def test_a_folder_must_hold_images_for_every_split(tmp_path):
    with pytest.raises(ValueError, match="needs --data-dir"):
        load_images("folder", None, 8)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_images("folder", tmp_path / "nowhere", 8)
    with pytest.raises(ValueError, match="holds no folders: the images of a class lie in a folder of its name"):
        load_images("folder", tmp_path, 8)
    write_classes(tmp_path, 1)
    with pytest.raises(ValueError, match="the val split holds no images"):
        load_images("folder", tmp_path, 8)


# Decoding


@pytest.mark.parametrize("name", make_decoded.SHAPES)
def test_images_are_resized_and_cut_as_by_torchvision(name, tmp_path):
    expected = np.load(make_decoded.FILE)
    image = make_decoded.image(name)
    Image.fromarray(image).save(tmp_path / "image.png")
    channels = 1 if image.ndim == 2 else 3
    whole = read_image(tmp_path / "image.png", channels, 32)
    np.testing.assert_array_equal(whole, expected[f"{name} whole"])
    np.testing.assert_array_equal(resize(image, 32), whole)
    # the middle, cut out on the device
    zero, one = (0.0,) * channels, (1.0,) * channels
    larger = read_image(tmp_path / "image.png", channels, make_decoded.SIZES["cropped"][0])
    cut = 255 * Preprocessing(zero, one, 32)(larger[None])[0]
    np.testing.assert_allclose(cut, expected[f"{name} cropped"], atol=1e-4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_other_kinds_of_images_become_rgb(tmp_path, mode):
    image = Image.new("L", (12, 10), 255).convert(mode) if mode != "I;16" else Image.new(mode, (12, 10), 65535)
    image.save(tmp_path / "image.tif")
    assert read_image(tmp_path / "image.tif", 3, 8).tolist() == np.full((8, 8, 3), 255).tolist()


def bomb(path):
    """A header that claims 400 million pixels."""
    Image.new("1", (8, 8)).save(path)
    content = path.read_bytes()
    header = content[12:16] + struct.pack(">II", 20_000, 20_000) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


def truncated(path, kind):
    noise = np.random.RandomState(0).randint(0, 256, (30, 30, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, kind)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot identify image file"),
        (lambda path: truncated(path, "png"), "truncated"),
        (lambda path: truncated(path, "jpeg"), "truncated"),
        (lambda path: path.write_bytes(b"hello"), "cannot identify image file"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: path.unlink(), "No such file"),
        (bomb, "exceeds limit"),
        (lambda path: Image.new("1", (30_000, 1)).save(path), "30000x1 pixels would be resized to 6720000x224"),
    ],
)
def test_bad_images_are_errors_that_name_them(tmp_path, spoil, message):
    path = tmp_path / "image.png"
    write_image(path)
    spoil(path)
    with pytest.raises(ValueError, match=f"(?s){path} cannot be read as an image: .*{message}"):
        read_image(path, 3, 224)


# Streaming


def load_30(directory, workers=2, share=0.5):
    write_classes(directory, 10)
    return load_images("folder", directory, 8, ReadingConfig(workers, share))


def test_any_number_of_workers_gives_the_same_batches_from_any_step_on(tmp_path):
    order = ShuffledOrder(18, 4, seed=0)
    streams = []
    for workers in (0, 1, 3):
        split = load_30(tmp_path, workers).train
        streams.append(list(split.batches(order, 0, 9)))
        streams.append(streams[-1][:5] + list(split.batches(order, 5, 9)))
    for stream in streams:
        for batch, expected, step in zip(stream, streams[0], range(9), strict=True):
            np.testing.assert_array_equal(batch["image"], expected["image"])
            np.testing.assert_array_equal(batch["label"], split.labels[order(step)])
            assert batch["image"][:, 0, 0, 0].tolist() == [
                10 * split.labels[i] + int(Path(split.files[i]).stem) for i in order(step)
            ]


def test_threads_end_with_the_iterator(tmp_path):
    split = load_30(tmp_path).train
    before = threading.active_count()
    stream = split.batches(ShuffledOrder(18, 4, seed=0), 0, 100)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    for thread in threading.enumerate():
        if thread.name.startswith("grain"):
            thread.join(timeout=30)
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_good_image_stands_in_for_a_bad_one(tmp_path, workers, caplog):
    split = load_30(tmp_path, workers).train
    good, labels = all_of(split)
    for index in (5, 6, 17):  # two at the end of a class, and the last of all
        Path(split.files[index]).write_bytes(b"")
    split.bad.list_in(tmp_path / "bad_images.txt")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            images, seen = all_of(split)
            stood_in = [*range(5), 7, 7, *range(7, 17), 0]
            np.testing.assert_array_equal(images, good[stood_in])
            np.testing.assert_array_equal(seen, labels[stood_in])
    assert [record.getMessage() for record in caplog.records] == [
        f"{split.files[5]} cannot be read as an image: cannot identify image file '{split.files[5]}'; the next image "
        f"stands in for it; all such images are listed in {tmp_path / 'bad_images.txt'}"
    ]
    lines = (tmp_path / "bad_images.txt").read_text().splitlines()
    assert [line.split(" cannot be read")[0] for line in lines] == [split.files[index] for index in (5, 6, 17)]


def test_what_an_earlier_process_listed_is_kept_and_not_repeated(tmp_path, caplog):
    first = Path(load_30(tmp_path).train.files[3])
    strange = first.with_name("\udce9.png")  # a name that is not in UTF-8
    first.rename(strange)
    strange.write_bytes(b"")
    (tmp_path / "bad_images.txt").write_text("another cannot be read\n")
    for _ in range(2):
        split = load_images("folder", tmp_path, 8, ReadingConfig(2, 0.5)).train
        split.bad.list_in(tmp_path / "bad_images.txt")
        all_of(split)
    lines = (tmp_path / "bad_images.txt").read_text(errors="surrogateescape").splitlines()
    assert [line.split(" cannot")[0] for line in lines] == ["another", str(strange)]
    assert r"\udce9.png cannot be read" in caplog.text
    assert caplog.text.encode()  # a terminal could not print it otherwise


@pytest.mark.parametrize(("share", "bad", "stops"), [(0.1, 3, False), (0.1, 4, True), (0.0, 1, True), (0.9, 18, True)])
def test_too_many_bad_images_stop_the_run(tmp_path, share, bad, stops):
    split = load_30(tmp_path, share=share).train
    for file in split.files[:bad]:
        Path(file).write_bytes(b"")
    if not stops:
        all_of(split)
        return
    with pytest.raises(BadImagesError) as error:
        all_of(split)
    message = str(error.value)
    assert f"of 30 images cannot be read, and --max-bad-images {share:g} allows {int(30 * share)}; the first" in message
    assert f"\n  {split.files[0]} cannot be read as an image: " in message
    assert message.count("\n") <= 3


@pytest.mark.parametrize(
    ("options", "message"), [({"workers": -1}, "--workers"), ({"max_bad_images": 1.0}, "--max-bad")]
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ReadingConfig(**options)
