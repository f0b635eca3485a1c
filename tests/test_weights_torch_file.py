"""Reading the files of `torch.save`: stored ones, and ones made to do harm."""

import copy
import io
import os
import pickle
import random
import tracemalloc
import zipfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.weights import WeightsError, from_foreign
from jaxvision.weights.files import read_safetensors
from jaxvision.weights.torch_file import LEGACY_MAGIC, read_torch

FOLDER = Path(__file__).parent / "reference" / "checkpoints"
NETWORKS = ["network_zip.pth", "network_legacy.pth", "network.safetensors", "network_bfloat16.safetensors"]
SIX = np.arange(6, dtype="<f4").tobytes()
MEGABYTE = 2**20


class Network(nn.Module):
    """The network of `make_checkpoints`."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(4, (3, 3), padding="VALID", name="conv")(image)
        x = nn.BatchNorm(not train, epsilon=1e-5, name="norm")(x)
        return nn.Dense(5, name="head")(x.mean((1, 2)))

    def torch_names(self):
        return {"torch": {"conv": "conv", "norm": "bn", "head": "fc"}}

    def example_input(self):
        return jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)


# Pieces of pickles, of protocol 2 as torch.save writes them, and files around them.


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def storage(key="0", size=6, kind="FloatStorage", legacy=False):
    strings = plain("storage") + f"ctorch\n{kind}\n".encode() + plain(key) + plain("cpu")
    return b"(" + strings + plain(size) + b"N" * legacy + b"tQ"


def tensor(offset=0, shape=(2, 3), strides=(3, 1), source=None):
    view = (source or storage()) + plain(offset) + plain(shape) + plain(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(value):
    return b"\x80\x02}" + plain("w") + value + b"s."


def zip_file(program, entries=(("data/0", SIX),), compression=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as file:
        for name, content in [("data.pkl", program), *entries]:
            file.writestr(f"archive/{name}", content)
    return data.getvalue()


def legacy_file(program, keys=b"\x80\x02](X\1\0\0\0" + b"0e.", version=b"\x80\x02M\xe9\x03.", storages=None):
    return LEGACY_MAGIC + version + b"\x80\x02}." + program + keys + (storages or b"\6" + bytes(7) + SIX)


FILES = {"zip": zip_file, "legacy": legacy_file}


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_stored_tensors(layout):
    state = read_torch((FOLDER / f"tensors_{layout}.pth").read_bytes())
    with np.load(FOLDER / "tensors.npz") as expected:
        assert list(state) == list(expected)
        for key, value in expected.items():
            assert state[key].dtype == ("bfloat16" if key == "bfloat16" else value.dtype)
            np.testing.assert_array_equal(state[key].astype(value.dtype), value, strict=True)
    assert np.shares_memory(state["whole"], state["transposed"])
    assert np.shares_memory(state["whole"], state["part"])


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_network(name):
    model = Network()
    variables = jv.load_weights(model, FOLDER / name)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    with np.load(FOLDER / "network.npz") as stored:
        logits = model.apply(variables, stored["image"].transpose(0, 2, 3, 1), train=False)
        np.testing.assert_allclose(logits, stored["logits"], rtol=1e-2 if "bfloat16" in name else 1e-5)


def test_small_files_are_read():
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(read_torch(zip_file(state_dict(tensor())))["w"], expected)
    np.testing.assert_array_equal(read_torch(zip_file(state_dict(tensor(4, (2,), (1,)))))["w"], [4, 5])
    program = state_dict(tensor(source=storage(legacy=True)))
    np.testing.assert_array_equal(read_torch(legacy_file(program))["w"], expected)


@pytest.mark.parametrize(("kind", "content"), [("FloatStorage", b"\x40\x49\0\0"), ("BFloat16Storage", b"\x40\x49")])
def test_byteorder_is_that_of_the_file(kind, content):
    program = state_dict(tensor(0, (), (), storage(size=1, kind=kind)))
    assert read_torch(zip_file(program, [("data/0", content), ("byteorder", b"big")]))["w"] == 3.140625
    assert read_torch(zip_file(program, [("data/0", content[::-1]), ("byteorder", b"little")]))["w"] == 3.140625
    assert read_torch(zip_file(program, [("data/0", content[::-1])]))["w"] == 3.140625


def test_file_of_python2():
    """Byte strings for names, an OrderedDict made from pairs, `_rebuild_tensor` of four arguments."""
    view = storage(legacy=True) + plain(0) + plain((6,)) + plain((1,))
    program = b"\x80\x02ccollections\nOrderedDict\n](](U\1wctorch._utils\n_rebuild_tensor\n(" + view + b"tRee\x85R."
    np.testing.assert_array_equal(read_torch(legacy_file(program))["w"], np.arange(6))


class Harm:
    """An object whose pickle runs a command."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


FORBIDDEN = {
    "global": b"\x80\x02cos\nsystem\n" + plain("true") + b"\x85R.",
    "global of a known module": b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R.",
    "attribute of a known class": b"\x80\x02ccollections\nOrderedDict.fromkeys\n)R.",
    "eval": b"\x80\x02c__builtin__\neval\n" + plain("1") + b"\x85R.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"\x80\x02(ccollections\nOrderedDict\no.",
    "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "newobj with keywords": b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "extension": b"\x80\x02\x82\x01.",
    "text persistent id": b"Pstorage\n.",
    "build on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + plain("__code__") + b"Nsb.",
    "build on a tensor": state_dict(tensor() + b"}" + plain("shape") + b"K\1sb"),
    "call of a string": b"\x80\x02" + plain("eval") + b")R.",
    "call of a type of storage": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "call with a list": b"\x80\x02ccollections\nOrderedDict\n]R.",
    "tensor of numbers": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\0K\0K\0K\0tR.",
    "storage of another kind": state_dict(tensor(source=b"(" + plain("module") + plain(0) + b"tQ")),
    "tuple as a key": b"\x80\x02})Ns.",
}

MALFORMED = {
    "call with too little": b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
    "empty": b"",
    "no end": b"\x80\x02}",
    "nothing to pop": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "no such memo": b"\x80\x02h\1.",
    "append to a dictionary": b"\x80\x02}Na.",
    "item of a list": b"\x80\x02]NNs.",
    "odd number of items": b"\x80\x02}(Nu.",
    "contains itself": b"\x80\x02}q\0" + plain("w") + b"h\0s.",
}

DOUBLED = b"()q\0" + 40 * b"h\0h\0\x86q\0" + b"t"  # tuples of two of the tuple before: 2**40 leaves

BOMBS = {
    "long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "string": b"\x80\x02X\xff\xff\xff\xff.",
    "long string": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "bytes": b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
    "frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "marks": b"\x80\x02" + 2000 * b"(" + b".",
    "nested lists": b"\x80\x02" + 2000 * b"]" + 1999 * b"a" + b".",
    "nested tuples": b"\x80\x02)" + 2000 * b"\x85" + b".",
    "nested tuples as a key": b"\x80\x02})" + 2000 * b"\x85" + b"Ns.",
    "doubled tuple": b"\x80\x02" + DOUBLED + b".",
    "doubled tuple as a key": b"\x80\x02}" + DOUBLED + b"Ns.",
    "doubled tuple in a list": b"\x80\x02]" + DOUBLED + b"a.",
    "doubled tuple as a size": state_dict(tensor(source=storage() + plain(0) + DOUBLED)),
    "doubled tuple as a storage": b"\x80\x02" + DOUBLED + b"Q.",
    "many dimensions": state_dict(tensor(0, (1,) * 100, (1,) * 100)),
    "large empty": state_dict(tensor(0, (0, 2**70), (1, 1))),
    "large": state_dict(tensor(0, (2**40,), (0,), storage(size=2**40))),
}


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_pickles_are_refused(name, layout):
    with pytest.raises(WeightsError, match=r"the pickle (asks|calls|sets|describes|has)"):
        read_torch(FILES[layout](FORBIDDEN[name]))


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_pickles_are_refused(name, layout):
    with pytest.raises(WeightsError):
        read_torch(FILES[layout](MALFORMED[name]))


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_no_memory(name, layout):
    data = FILES[layout](BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            read_torch(data)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("layout", FILES)
def test_no_command_runs(layout, suffix, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / f"weights{suffix}"
    commands = [
        (os.system, f"mkdir {marker}"),
        (eval, f"__import__('os').mkdir({str(marker)!r})"),
        (os.mkdir, str(marker)),
    ]
    for function, argument in commands:
        program = pickle.dumps({"w": Harm(function, argument)}, 2)
        file.write_bytes(FILES[layout](program))
        with pytest.raises(WeightsError, match=rf"{file}.*the pickle asks for .*{function.__name__}"):
            jv.load_weights(Network(), file)
        assert not marker.exists()
        pickle.loads(program)  # does what was refused above
        marker.rmdir()


@pytest.mark.parametrize(
    "view",
    [
        tensor(1),
        tensor(0, (2, 3), (4, 1)),
        tensor(0, (7,), (0,)),
        tensor(0, (3,), (-1,)),
        tensor(-1, (1,), (1,)),
        tensor(0, (-1, -1), (1, 1)),
        tensor(0, (2, 3), (1,)),
        tensor(0, (2.0,), (1,)),
        tensor(0, (True,), (1,)),
        tensor(source=storage(size=5)),
        tensor(source=storage(size=7)),
        tensor(source=storage(size=-6)),
        tensor(source=storage(kind="DoubleStorage")),
        tensor(source=storage(key="1")),
        tensor(source=storage(key="../data.pkl")),
        tensor() + b"s" + plain("v") + tensor(source=storage(kind="IntStorage")),
    ],
)
def test_tensors_lie_in_their_storage(view):
    with pytest.raises(WeightsError):
        read_torch(zip_file(state_dict(view)))
    with pytest.raises(WeightsError):
        read_torch(legacy_file(state_dict(view.replace(b"tQ", b"NtQ"))))


def zip_file_with(**changes):
    """Returns an archive with an entry more, which is the last one but for the changes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data.pkl", state_dict(tensor()))
        file.writestr("archive/data/0", bytes(1000))
        file.filelist.append(copy.copy(file.filelist[-1]))
        for name, value in changes.items():
            setattr(file.filelist[-1], name, value)
    return data.getvalue()


BAD_FILES = {
    "empty": (b"", "no file of torch.save"),
    "text": (b"<html>Not found</html>", "no file of torch.save"),
    "other pickle": (pickle.dumps({"w": 1}), "no file of torch.save"),
    "tar": (bytes(257) + b"ustar  \0", "tar format"),
    "empty zip": (zip_file(b"")[-22:], "no file of torch.save"),
    "zip without pickle": (zip_file(b"").replace(b"data.pkl", b"data.txt"), "not of torch.save"),
    "two pickles": (zip_file(b"", [("x/data.pkl", b"")]), "not of torch.save"),
    "TorchScript": (zip_file(b"", [("constants.pkl", b"")]), "TorchScript"),
    "compressed": (zip_file(state_dict(tensor()), compression=zipfile.ZIP_DEFLATED), "compressed"),
    "zip bomb": (zip_file(b"", [("data/0", bytes(10**7))], zipfile.ZIP_DEFLATED), "compressed"),
    "entry without end": (zip_file_with(filename="archive/data/1", file_size=2**31), "compressed"),
    "overlapping entries": (zip_file_with(filename="archive/data/1"), "overlap"),
    "entries of one name": (zip_file_with(), "overlap"),
    "checksum": (zip_file(state_dict(tensor())).replace(SIX, SIX[::-1]), "CRC"),
    "truncated zip": (zip_file(state_dict(tensor()))[:-1], "malformed"),
    "truncated legacy": (legacy_file(state_dict(tensor(source=storage(legacy=True))))[:-1], "24|23 bytes"),
    "version": (legacy_file(b"}.", version=b"\x80\x02" + DOUBLED + b"."), "unknown version"),
    "storage keys": (legacy_file(b"}.", keys=b"\x80\x02]" + DOUBLED + b"a."), "list of storages"),
    "unknown storage": (legacy_file(b"}."), "list of storages"),
    "storage size": (
        legacy_file(state_dict(tensor(source=storage(legacy=True))), storages=b"\7" + bytes(7) + SIX),
        "size, 6",
    ),
    "number": (zip_file(b"\x80\x02K\1."), "no dictionary but .* int"),
    "no tensors": (zip_file(b"\x80\x02}" + plain("epoch") + b"K\1s."), "no tensors; its entries are epoch"),
    "integer keys": (zip_file(b"\x80\x02}K\7" + tensor() + b"s."), "no names: 7"),
    "several state dicts": (
        zip_file(
            b"\x80\x02}(X\1\0\0\0a" + state_dict(tensor())[2:-1] + b"X\1\0\0\0b" + state_dict(tensor())[2:-1] + b"u."
        ),
        "several state dicts: a, b",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name(name, tmp_path):
    data, message = BAD_FILES[name]
    file = tmp_path / "weights.pth"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as raised:
        jv.load_weights(Network(), file)
    assert str(file) in str(raised.value)


def mutated(data, draw):
    """Returns the bytes with a few of them changed, cut out, put in twice or put at the end."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        start = draw.randrange(len(data) + 1)
        stop = min(len(data), start + draw.choice([1, 1, 4, 40]))
        kind = draw.choice(["change", "change", "cut", "double", "truncate", "append"])
        if kind == "change":
            data[start:stop] = draw.choice(
                [draw.randbytes(stop - start), bytes(stop - start), b"\xff" * (stop - start)]
            )
        elif kind == "cut":
            del data[start:stop]
        elif kind == "double":
            data[start:start] = data[start:stop]
        elif kind == "truncate":
            del data[start:]
        else:
            data += draw.randbytes(draw.choice([1, 10, 1000]))
    return bytes(data)


def mutated_pickle(data, draw):
    """Returns a zip archive with valid checksums around a changed pickle."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    return zip_file(mutated(entries.pop("data.pkl"), draw), entries.items())


@pytest.mark.parametrize(
    ("name", "change", "read"),
    [
        ("network_zip.pth", mutated, read_torch),
        ("network_zip.pth", mutated_pickle, read_torch),
        ("network_legacy.pth", mutated, read_torch),
        ("network.safetensors", mutated, read_safetensors),
    ],
)
def test_mutated_files_load_or_are_refused(name, change, read):
    """Each of 1,000 files; anything but a `WeightsError` fails the test."""
    data, draw, refused = (FOLDER / name).read_bytes(), random.Random(0), 0
    for _ in range(250):
        try:
            state = read(change(data, draw))
            from_foreign(Network(), {key.removeprefix("module."): value for key, value in state.items()})
        except WeightsError:
            refused += 1
    assert 0 < refused < 250
