"""CIFAR in both of its published layouts, good and bad.

The pickles are written here byte by byte as Python 2 did it. That this is so is known from the digests of two published
files, which torchvision keeps too: the bytes written here have them.
"""

import dataclasses
import hashlib
import random
import tracemalloc

import numpy as np
import pytest

from train.data import load_images
from train.data.cifar import CIFAR10, CIFAR100, load
from train.data.python2_pickle import PickleError, read_pickle


def words(text):
    return text.split()


NAMES = words("airplane automobile bird cat deer dog frog horse ship truck")
FINE = words("""
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm""")
COARSE = words("""
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1
vehicles_2""")


class Python2:
    """Pickles as `cPickle.dumps(value, 2)` did, numbering what it remembers from 1 on."""

    def __init__(self):
        self.remembered = 0

    def dumps(self, value):
        return b"\x80\x02" + self.value(value) + b"."

    def put(self):
        self.remembered += 1
        small = self.remembered < 256
        return b"q" + bytes([self.remembered]) if small else b"r" + self.remembered.to_bytes(4, "little")

    def value(self, value):
        match value:
            case int():
                return self.number(value)
            case str() | bytes():
                return self.string(value if isinstance(value, bytes) else value.encode())
            case list():
                begin, pieces = b"]" + self.put(), [value[i : i + 1000] for i in range(0, len(value), 1000)]
                return begin + b"".join(b"(" + b"".join(map(self.value, piece)) + b"e" for piece in pieces)
            case dict():
                begin = b"}" + self.put() + b"("
                return begin + b"".join(self.value(key) + self.value(value[key]) for key in value) + b"u"
            case np.ndarray():
                return self.array(value)

    def number(self, value):
        if 0 <= value < 2**16:
            return b"K" + bytes([value]) if value < 256 else b"M" + value.to_bytes(2, "little")
        return b"J" + value.to_bytes(4, "little", signed=True)

    def string(self, value):
        long = b"T" + len(value).to_bytes(4, "little") if len(value) > 255 else b"U" + bytes([len(value)])
        return long + value + self.put()

    def array(self, array):
        begin = b"cnumpy.core.multiarray\n_reconstruct\n" + self.put() + b"cnumpy\nndarray\n" + self.put()
        begin += b"K\x00\x85" + self.put() + self.string(b"b") + b"\x87" + self.put() + b"R" + self.put()
        shape = b"(K\x01" + b"".join(map(self.number, array.shape)) + b"\x86" + self.put()
        kind = b"cnumpy\ndtype\n" + self.put() + self.string(b"u1") + b"K\x00K\x01\x87" + self.put() + b"R" + self.put()
        kind += b"(K\x03" + self.string(b"|") + b"NNN" + 2 * self.number(-1) + b"K\x00t" + self.put() + b"b"
        return begin + shape + kind + b"\x89" + self.string(array.tobytes()) + b"t" + self.put() + b"b"


def dumps(value):
    return Python2().dumps(value)


META10 = dumps({"num_cases_per_batch": 10000, "label_names": NAMES, "num_vis": 3072})
META100 = dumps({"fine_label_names": FINE, "coarse_label_names": COARSE})


def test_pickles_are_written_as_the_published_ones():
    assert hashlib.md5(META10).hexdigest() == "5ff9c542aee3614f3951f8cda6e48888"
    assert hashlib.md5(META100).hexdigest() == "7973b15100ade9c7d40fb424638fde48"


PIXELS = np.random.RandomState(0).randint(0, 256, (120, 3072)).astype(np.uint8)
TINY10 = tuple(dataclasses.replace(layout, counts=(20, 20)) for layout in CIFAR10)
TINY100 = tuple(dataclasses.replace(layout, counts=(1000, 100)) for layout in CIFAR100)


def pickled10(labels, pixels, number):
    names = [f"image_{i}.png" for i in range(len(labels))]
    note = f"training batch {number} of 5"
    return dumps({"batch_label": note, "labels": labels.tolist(), "data": pixels, "filenames": names})


def write10(folder, kind):
    """Six files of 20 images: image i is of class i % 10."""
    folder.mkdir(parents=True)
    (folder / ("batches.meta.txt" if kind == "binary" else "batches.meta")).write_bytes(
        ("\n".join(NAMES) + "\n\n").encode() if kind == "binary" else META10
    )
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = PIXELS[20 * number : 20 * number + 20], np.arange(20) % 10
        if kind == "binary":
            (folder / f"{name}.bin").write_bytes(np.c_[labels.astype(np.uint8), pixels].tobytes())
        else:
            (folder / name).write_bytes(pickled10(labels, pixels, number + 1))


def check10(data):
    assert data.classes == tuple(NAMES)
    assert [np.bincount(split.labels).tolist() for split in (data.train, data.val, data.test)] == [
        [9] * 10,
        [1] * 10,
        [2] * 10,
    ]
    images = PIXELS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(data.test.images, images[100:])
    indices = {image.tobytes(): index for index, image in enumerate(images[:100])}
    for split in (data.train, data.val):
        assert [indices[image.tobytes()] % 10 for image in split.images] == split.labels.tolist()


@pytest.mark.parametrize("kind", ["binary", "pickle"])
def test_cifar10_in_both_layouts(tmp_path, kind):
    folder = {"binary": "cifar-10-batches-bin", "pickle": "cifar-10-batches-py"}[kind]
    write10(tmp_path / folder, kind)
    check10(load(tmp_path, 32, layouts=TINY10))
    check10(load(tmp_path / folder, 32, layouts=TINY10))
    assert load(tmp_path, 8, layouts=TINY10).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["binary", "pickle"])
def test_cifar100_has_fine_labels(tmp_path, kind):
    for name, count in (("train", 1000), ("test", 100)):
        fine, pixels = np.arange(count) % 100, np.resize(PIXELS, (count, 3072))
        records = np.c_[np.zeros(count), fine, pixels].astype(np.uint8).tobytes()
        content = {
            "filenames": [],
            "batch_label": name,
            "fine_labels": fine.tolist(),
            "coarse_labels": [],
            "data": pixels,
        }
        path, data = (f"{name}.bin", records) if kind == "binary" else (name, dumps(content))
        (tmp_path / path).write_bytes(data)
    (tmp_path / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (tmp_path / "meta").write_bytes(META100)
    data = load(tmp_path, 32, layouts=TINY100)
    assert data.classes == tuple(FINE)
    assert [len(split) for split in (data.train, data.val, data.test)] == [900, 100, 100]
    assert data.test.labels.tolist() == list(range(100))
    np.testing.assert_array_equal(data.test.images[7].transpose(2, 0, 1).ravel(), PIXELS[7])


def test_published_lengths_are_asked_for(tmp_path):
    write10(tmp_path / "cifar-10-batches-bin", "binary")
    with pytest.raises(
        ValueError, match=r"--data cifar10 .*data_batch_1\.bin should hold 30730000 bytes, it holds 61460"
    ):
        load_images("cifar10", tmp_path, 32)
    with pytest.raises(ValueError, match="--data cifar100: this data set needs --data-dir"):
        load_images("cifar100", None, 32)
    with pytest.raises(FileNotFoundError, match=r"holds neither train\.bin \(of cifar-100-binary\) nor train \(of"):
        load_images("cifar100", tmp_path, 32)


def bad_binary(folder):
    yield "data_batch_3.bin", lambda data: data[:-1], r"should hold 61460 bytes, it holds 61459"
    yield "test_batch.bin", lambda data: data + b"\0", r"should hold 61460 bytes, it holds 61461"
    yield "test_batch.bin", lambda data: b"\x0a" + data[1:], r"holds 1 labels outside 0\.\.9, the first 10 at image 0"
    yield "batches.meta.txt", lambda data: b"cat\ndog\n", "should hold the names of 10 classes, it holds 2"
    yield "data_batch_5.bin", None, r"No such file or directory: '.*data_batch_5\.bin'"
    yield "batches.meta.txt", None, r"No such file or directory: '.*batches\.meta\.txt'"


def bad_pickle(folder):
    labels, pixels = np.arange(20) % 10, PIXELS[:20]
    yield (
        "data_batch_2",
        lambda _: pickled10(labels[:19], pixels, 2),
        r"should hold 20 images .*\(20, 3072\) and 19 labels",
    )
    yield "data_batch_2", lambda _: pickled10(labels, pixels[:19], 2), r"should hold 20 images .*\(19, 3072\) and 20"
    yield "data_batch_2", lambda _: pickled10(labels + 1, pixels, 2), r"holds 2 labels outside 0\.\.9, the first 10 at"
    yield "data_batch_2", lambda _: pickled10(labels - 1, pixels, 2), r"holds 2 labels outside 0\.\.9, the first -1 at"
    yield "data_batch_2", lambda _: dumps({"labels": ["a"] * 20, "data": pixels}), "holds labels that are no numbers"
    yield "data_batch_2", lambda _: dumps({"labels": [], "data": "text"}), "should hold 'data', it holds labels, data"
    yield "data_batch_2", lambda data: data[:1000], "cannot be read: malformed pickle"
    yield "batches.meta", lambda _: dumps({"label_names": NAMES[:9]}), "should hold the names of 10 classes, it holds 9"
    yield "test_batch", None, r"No such file or directory: '.*test_batch'"


@pytest.mark.parametrize(("kind", "cases"), [("binary", bad_binary), ("pickle", bad_pickle)])
def test_bad_files_are_named(tmp_path, kind, cases):
    write10(tmp_path / kind, kind)
    for name, change, message in cases(tmp_path):
        file = tmp_path / kind / name
        whole = file.read_bytes()
        file.unlink() if change is None else file.write_bytes(change(whole))
        with pytest.raises((ValueError, FileNotFoundError), match=f"(?s).*{message}") as error:
            load(tmp_path / kind, 32, layouts=TINY10)
        assert str(file) in str(error.value)
        file.write_bytes(whole)


ARRAY = Python2().array(PIXELS[:2])
EVIL = {
    "os.system": b"cos\nsystem\n(U\x04trueetR.",
    "builtins.eval": b"c__builtin__\neval\n(U\x011tR.".replace(b"__builtin__", b"builtins"),
    "numpy.core.multiarray.scalar": b"cnumpy.core.multiarray\nscalar\n.",
    "the operation STACK_GLOBAL": b"U\x02osU\x06system\x93.",
    "the operation INST": b"(ios\nsystem\n.",
    "the operation OBJ": b"(cnumpy\nndarray\no.",
    "the operation NEWOBJ": b"cnumpy\nndarray\n)\x81.",
    "the operation EXT1": b"\x82\x01.",
    "the operation BINPERSID": b"U\x01aQ.",
    "something other than an array of bytes": b"cnumpy\nndarray\nK\x05\x85R.",
    "makes something other": b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",  # an array of Python objects
    "sets the state": b"cnumpy\ndtype\n}b.",
    "keys that are no strings": b"}(K\x01K\x01u.",
    "no dictionary but an object of type list": b"].",
    "cannot reshape": ARRAY.replace(b"K\x02M\x00\x0c", b"K\x03M\x00\x0c") + b".",
    "IndexError": b".",
    "exhausted before seeing STOP": b"}",
}


@pytest.mark.parametrize("message", EVIL)
def test_a_pickle_that_asks_for_more_is_refused(message):
    with pytest.raises(PickleError, match=message):
        read_pickle(b"\x80\x02" + EVIL[message])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # of pickletools, which decodes what is then refused
def test_damaged_pickles_never_do_more_than_fail():
    whole = pickled10(np.arange(5), PIXELS[:5, :40], 1)
    expected = {"batch_label", "labels", "data", "filenames"}
    assert set(read_pickle(whole)) == expected
    generator = random.Random(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 1, 3, 10))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            content = read_pickle(bytes(damaged[: generator.choice((None, None, generator.randrange(len(whole))))]))
        except PickleError:
            refused += 1
        else:
            assert isinstance(content, dict)
            assert all(
                type(value) in (str, int, list, tuple, dict, bool, np.ndarray, type(None)) for value in content.values()
            )
    assert 500 < refused < 2000


@pytest.mark.parametrize("program", [b"T\xff\xff\xff\x7f", b"]r\xff\xff\xff\x7f.", b"]q\x01(" + 10 * b"h\x01" + b"e."])
def test_what_a_pickle_claims_to_hold_costs_nothing(program):
    tracemalloc.start()
    with pytest.raises(PickleError):
        read_pickle(b"\x80\x02" + program)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
