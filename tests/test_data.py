"""Data sets: the digits, files in MNIST's format, good and bad."""

import gzip
import struct

import numpy as np
import pytest

from train.data import load_images
from train.data.digits import load
from train.data.idx import read_idx
from train.data.images import ImageSet, Preprocessing, Split, stratified_split


def test_the_digits_are_split_once_and_for_all():
    digits = load(None, 32)
    assert [len(split) for split in (digits.train, digits.val, digits.test)] == [1078, 360, 359]
    assert digits.shape == (32, 32, 1)
    for split in (digits.train, digits.val, digits.test):
        shares = np.bincount(split.labels) / len(split)
        np.testing.assert_allclose(shares, 0.1, atol=0.005)
    # The split that every recorded score stands on: a change of NumPy or scikit-learn that moves it shows here.
    assert [int(split.labels[:20].sum()) for split in (digits.train, digits.val, digits.test)] == [104, 74, 89]
    assert len({split.images.tobytes() for split in (digits.train, digits.val, digits.test)}) == 3


def test_splits_are_disjoint_complete_and_stratified():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    parts = stratified_split(labels, (0.6, 0.2, 0.2))
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]


@pytest.mark.parametrize(
    ("shares", "sizes"),  # the digits are 1,797, from 174 to 183 of a class
    [((0.7, 0.3), [1257, 270, 270]), ((0.6, 0.2, 0.2), [1078, 360, 359]), ((0.98, 0.01, 0.01), [1761, 18, 18])],
)
def test_other_splits_hold_the_same_images(shares, sizes):
    digits, again = load(None, 8), load_images("digits", None, 8, shares=shares)
    splits = [again.train, again.val, again.test]
    np.testing.assert_allclose([len(split) for split in splits], sizes, atol=5)  # rounded class by class
    for split in splits:
        np.testing.assert_allclose(
            np.bincount(split.labels, minlength=10), len(split) / 10, atol=max(1, len(split) / 200)
        )
    lines = lambda *splits: sorted(
        image.tobytes() + bytes([label]) for s in splits for image, label in zip(s.images, s.labels, strict=True)
    )
    assert lines(*splits) == lines(digits.train, digits.val, digits.test)


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.4), (0.5, 0.5, 0.0), (0.4, 0.3, 0.2, 0.1), (1.5, -0.5)])
def test_shares_that_cannot_be_are_named(shares):
    with pytest.raises(ValueError, match=f"--data digits: --split must be shares of train, .*got {shares[0]}"):
        load_images("digits", None, 8, shares=shares)


def test_a_split_without_images_is_named():
    with pytest.raises(ValueError, match="the val split holds no images"):
        load_images("digits", None, 8, shares=(0.998, 0.001, 0.001))


@pytest.mark.parametrize("name", ["cifar10", "mnist", "folder"])
def test_a_directory_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"--data-dir {tmp_path / 'nowhere'}: there is no such directory"):
        load_images(name, tmp_path / "nowhere", 8)


def test_preprocessing_centres_and_scales():
    digits = load(None, 8)
    images = Preprocessing(*(tuple(map(float, value)) for value in digits.statistics()), 8)(digits.train.images)
    np.testing.assert_allclose([images.mean(), images.std()], [0, 1], atol=1e-5)


def test_statistics_are_numpys_and_1_for_a_channel_that_never_varies():
    images = np.random.RandomState(0).randint(0, 256, (50, 7, 9, 3)).astype(np.uint8)
    images[..., 1] = 77
    mean, std = Split(images, np.zeros(50, np.int32)).statistics()
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(std, [scaled[..., 0].std(), 1, scaled[..., 2].std()], rtol=1e-7)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def directory(tmp_path):
    random = np.random.RandomState(0)
    for part, count in (("train", 100), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", random.randint(0, 256, (count, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


def test_mnist_files(directory):
    data = load_images("fashion_mnist", directory, 28)
    assert [len(split) for split in (data.train, data.val, data.test)] == [90, 10, 20]
    assert data.classes[9] == "Ankle boot"
    expected = np.random.RandomState(0).randint(0, 256, (100, 28, 28))
    labels = np.arange(100) % 10
    found = {
        image.tobytes(): label
        for split in (data.train, data.val)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert all(found[image.astype(np.uint8).tobytes()] == label for image, label in zip(expected, labels, strict=True))
    assert load_images("mnist", directory, 32).shape == (32, 32, 1)


def test_damaged_files_are_named(directory):
    file = directory / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for damaged in (whole[:50], whole[:20] + bytes([whole[20] ^ 255]) + whole[21:], b"", b"no gzip"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"--data mnist --data-dir .*{file.name}"):
            load_images("mnist", directory, 28)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds neither train-images-idx3-ubyte nor \S+\.gz"):
        load_images("mnist", directory, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", r"should hold \(5,\) bytes after its header, it holds 3"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01a", "is no IDX file of unsigned bytes with 1 axes: it begins 00000d01"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x00", "holds nothing"),
    ],
)
def test_bad_headers_are_named(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file", axes=1)


@pytest.mark.parametrize(("part", "images", "labels"), [("train", 100, 90), ("t10k", 20, 30)])
def test_a_label_for_each_image_is_asked_for(directory, part, images, labels):
    write_idx(directory / f"{part}-labels-idx1-ubyte", np.arange(labels) % 10)
    message = rf"{part}-images-idx3-ubyte.gz holds {images} images, \S*{part}-labels-idx1-ubyte holds {labels} labels"
    with pytest.raises(ValueError, match=message):
        load_images("mnist", directory, 28)


def test_labels_out_of_range_are_named(directory):
    write_idx(directory / "t10k-labels-idx1-ubyte", np.arange(20))
    with pytest.raises(ValueError, match=r"--data-dir .*the test split holds 10 labels outside 0\.\.9, the first 10"):
        load_images("mnist", directory, 28)


def test_sets_that_do_not_fit_are_refused():
    split = Split(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int32))
    empty = Split(split.images[:0], split.labels[:0])
    with pytest.raises(ValueError, match="the val split holds no images"):
        ImageSet(("a",), split, empty, split)
    with pytest.raises(ValueError, match="the test split holds 2 images and 3 labels"):
        ImageSet(("a",), split, split, Split(split.images[:2], split.labels))
