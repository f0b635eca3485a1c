"""CIFAR-10 as image files, a folder to a class."""

import pytest
from PIL import Image

from train.data import load_images
from train.data.cifar import CLASSES

PER_CLASS = 20


def color(label, number):
    return (10 * label, number, 77)


def write(folder, per_class):
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):  # not padded with zeros: 10.png is after 9.png
            Image.new("RGB", (32, 32), color(label, number)).save(folder / name / f"{number}.png")


def numbers(split, label):
    """The numbers of the images of a class, which their green shows."""
    chosen = split.images[split.labels == label]
    assert (chosen == chosen[:, :1, :1]).all()
    assert (chosen[:, 0, 0, 0] == 10 * label).all()
    return sorted(chosen[:, 0, 0, 1].tolist())


@pytest.mark.parametrize("inside", ["", "train"])
def test_the_last_tenth_of_each_class_is_the_test_set(tmp_path, inside):
    write(tmp_path / inside, PER_CLASS)
    data = load_images("cifar10", tmp_path, 32)
    assert data.classes == CLASSES
    for label in range(10):
        train, val, test = (numbers(split, label) for split in (data.train, data.val, data.test))
        assert test == [18, 19]
        assert len(val) == 2
        assert sorted(train + val) == list(range(18))


def test_a_test_folder_is_the_test_set(tmp_path):
    write(tmp_path / "train", PER_CLASS)
    write(tmp_path / "test", 3)
    data = load_images("cifar10", tmp_path, 32)
    assert [numbers(data.test, label) for label in range(10)] == 10 * [[0, 1, 2]]
    assert sorted(numbers(data.train, 4) + numbers(data.val, 4)) == list(range(PER_CLASS))


def test_images_are_resized(tmp_path):
    write(tmp_path, PER_CLASS)
    assert load_images("cifar10", tmp_path, 16).shape == (16, 16, 3)


def test_a_directory_without_folders_of_classes(tmp_path):
    message = r"neither data_batch_1.bin \(.*\) nor data_batch_1 \(.*\) nor airplane/ and the other folders of images"
    with pytest.raises(FileNotFoundError, match=message):
        load_images("cifar10", tmp_path, 32)
    with pytest.raises(FileNotFoundError, match=r"neither train.bin \(of cifar-100-binary\) nor train \(\S+ \S+$"):
        load_images("cifar100", tmp_path, 32)


def test_bad_folders_are_named(tmp_path):
    write(tmp_path, PER_CLASS)
    bad = tmp_path / "cat" / "3.png"
    bad.write_bytes(b"")
    with pytest.raises(ValueError, match=f"--data cifar10 --data-dir {tmp_path}: {bad} cannot be read as an image"):
        load_images("cifar10", tmp_path, 32)
    for file in (tmp_path / "cat").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=f"no images in {tmp_path / 'cat'}"):
        load_images("cifar10", tmp_path, 32)
    (tmp_path / "cat").rmdir()
    with pytest.raises(ValueError, match=f"no images in {tmp_path / 'cat'}"):
        load_images("cifar10", tmp_path, 32)
