"""State dicts from the files of `torch.save`, without PyTorch.

Such a file is a pickle, and a pickle is a program: Python's own unpickler calls whatever functions it names. Here a
machine of its own runs it, which knows dictionaries, lists, tuples, numbers, strings and tensors and nothing else; what
else the program asks for is refused by name. Tensors come out of the pickle as descriptions (`Tensor`), and only those
of the state dict are then looked up in the storages that the file holds beside the pickle.

Both formats are read: the zip archive (since PyTorch 1.6) and the sequence of pickles and storages before it. See
`save`, `_legacy_save` and `persistent_id` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py.
"""

import dataclasses
import functools
import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import ml_dtypes
import numpy as np

from jaxvision.weights.errors import WeightsError

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of the number 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
TAR_MAGIC = b"ustar"  # at byte 257
ADVICE = "only tensors are read: save the state_dict() alone"

DTYPES = {
    "torch DoubleStorage": np.dtype(np.float64),
    "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}


def read_torch(data: bytes) -> dict[str, Any]:
    """Reads a state dict from the bytes of a file written by `torch.save`.

    Args:
        data: the whole file. Its state dict may be an entry of a dictionary (`state_dict`, `model`, ...), if it is the
            only one.

    Returns:
        Arrays by key; they may be views into common storages. Entries that are no tensors are returned as they are.

    Raises:
        WeightsError: the bytes are no such file, are damaged, or ask for more than tensors.
    """
    try:
        tree, load = _open(data)
        tensors = _state_dict(tree)
        return {key: load_tensor(value, load) if isinstance(value, Tensor) else value for key, value in tensors.items()}
    except WeightsError:
        raise
    except Exception as error:  # bytes made to do harm may go wrong anywhere
        raise WeightsError(f"malformed PyTorch file: {type(error).__name__}: {error!s:.200}") from error


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat array that the file holds under a key."""

    key: str
    dtype: np.dtype
    size: int

    def decode(self, data: bytes, byteorder: str = "little") -> np.ndarray:
        """Returns the array in the given bytes, which must be neither more nor fewer."""
        if len(data) != self.size * self.dtype.itemsize:
            raise WeightsError(f"storage {self.key:.100}: {self.size} x {self.dtype} declared, {len(data)} bytes found")
        raw = np.dtype(f"u{self.dtype.itemsize}")  # bfloat16 knows no byte order
        ordered = np.frombuffer(data, raw.newbyteorder({"little": "<", "big": ">"}[byteorder]))
        return ordered.astype(raw, copy=False).view(self.dtype)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that stands in the pickle: "module name"."""

    name: str


def load_tensor(tensor: Tensor, load: Callable[[Storage], np.ndarray]) -> np.ndarray:
    """Returns a tensor as a view of its storage, in which it must lie and than which it must not be larger."""
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    count = math.prod(tensor.shape)
    if count > tensor.storage.size or (count and last >= tensor.storage.size):
        raise WeightsError(f"a tensor {tensor.shape} exceeds its storage of {tensor.storage.size} elements")
    if not count:
        return np.zeros(tensor.shape, tensor.storage.dtype)
    strides = tuple(stride * tensor.storage.dtype.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(load(tensor.storage)[tensor.offset :], tensor.shape, strides)


def _state_dict(tree: Any) -> dict[str, Any]:
    """Returns the only dictionary of tensors: an entry of the given dictionary, or itself."""
    if not isinstance(tree, dict):
        raise WeightsError(f"the file holds no dictionary but an object of type {type(tree).__name__}")
    nested = {name: entry for name, entry in tree.items() if isinstance(entry, dict) and _has_tensors(entry)}
    if len(nested) > 1:
        raise WeightsError(f"the file holds several state dicts: {', '.join(map(str, nested))}; save one of them alone")
    state = next(iter(nested.values()), tree)
    if not _has_tensors(state):
        raise WeightsError(f"the file holds no tensors; its entries are {', '.join(map(str, tree)) or 'none'}")
    if numbers := [key for key in state if not isinstance(key, str)]:
        raise WeightsError(f"the state dict has keys that are no names: {', '.join(map(str, numbers))}")
    return state


def _has_tensors(entries: dict[Any, Any]) -> bool:
    return any(isinstance(entry, Tensor) for entry in entries.values())


def _open(data: bytes) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Returns what the file's pickle describes, and the function that loads its storages."""
    if data.startswith(ZIP_MAGIC):
        return _open_zip(data)
    if data.startswith(LEGACY_MAGIC):
        return _open_legacy(data)
    if data[257:262] == TAR_MAGIC:
        raise WeightsError("the tar format of PyTorch's first releases: load the file with PyTorch and save it again")
    raise WeightsError("no file of torch.save")


def _open_zip(data: bytes) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    root = _check_archive(archive, len(data))
    byteorder = archive.read(f"{root}/byteorder").decode() if f"{root}/byteorder" in archive.namelist() else "little"

    @functools.cache
    def load(storage: Storage) -> np.ndarray:
        return storage.decode(archive.read(f"{root}/data/{storage.key}"), byteorder)

    return _Machine(io.BytesIO(archive.read(f"{root}/data.pkl"))).run(), load


def _check_archive(archive: zipfile.ZipFile, size: int) -> str:
    """Returns the folder of the archive in which all lies; refuses what `torch.save` does not write."""
    entries, names = archive.infolist(), archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise WeightsError("a TorchScript archive: save the state_dict() of the model with torch.save")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise WeightsError("the archive is compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > size or len(set(names)) != len(names):
        raise WeightsError("the entries of the archive overlap")
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise WeightsError("a zip archive, but not of torch.save: it should hold one data.pkl")
    return roots[0]


def _open_legacy(data: bytes) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Reads five pickles: magic number, version, system, object, storage keys; then the storages, little-endian."""
    stream = io.BytesIO(data)
    stream.seek(len(LEGACY_MAGIC))
    if _Machine(stream).run() != LEGACY_VERSION:
        raise WeightsError("unknown version of the format before PyTorch 1.6")
    _Machine(stream).run()
    machine = _Machine(stream)
    tree, keys = machine.run(), _Machine(stream).run()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in machine.storages for key in keys):
        raise WeightsError("the list of storages does not agree with the pickle")
    storages = [machine.storages[key] for key in keys]
    arrays = {storage: _read_legacy_storage(stream, storage) for storage in storages}
    return tree, arrays.__getitem__


def _read_legacy_storage(stream: io.BytesIO, storage: Storage) -> np.ndarray:
    if int.from_bytes(stream.read(8), "little") != storage.size:
        raise WeightsError(f"storage {storage.key:.100} does not begin with its size, {storage.size}")
    return storage.decode(stream.read(storage.size * storage.dtype.itemsize))


class _Machine:
    """Runs one pickle; https://docs.python.org/3/library/pickletools.html describes its operations.

    Nothing recurses, and only names and integers are hashed, so that time and memory grow with the pickle's length.
    """

    def __init__(self, stream: io.BytesIO):
        self.storages: dict[str, Storage] = {}
        self._stream = stream
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the object; the stream then stands behind the pickle."""
        for operation, argument, _ in pickletools.genops(self._stream):
            if operation.name == "STOP":
                return self._stack.pop()
            self._step(operation.name, argument)
        raise WeightsError("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "MARK":
                self._marked.append(stack)
                self._stack = []
            case "TUPLE" | "APPENDS" | "SETITEMS":
                self._stack = self._marked.pop()
                self._put(name, stack)
            case "TUPLE1" | "TUPLE2" | "TUPLE3" | "APPEND" | "SETITEM":
                count = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "SETITEM": 2}[name]
                self._put(name, [stack.pop() for _ in range(count)][::-1])
            case "GLOBAL":
                stack.append(_known(Global(argument)))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_rebuild(function, arguments))
            case "BUILD":  # gives an OrderedDict attributes, such as the `_metadata` of a state dict: of no use here
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise WeightsError("the pickle sets attributes of an object that is no dictionary")
            case _:
                raise WeightsError(f"the pickle asks for the operation {name}; {ADVICE}")

    def _put(self, name: str, items: list[Any]) -> None:
        """Makes a tuple of the items, or puts them into the list or dictionary on top of the stack."""
        if name.startswith("TUPLE"):
            self._stack.append(tuple(items))
        elif name.startswith("APPEND"):
            list.extend(self._stack[-1], items)  # a TypeError where that is no list
        else:
            dict.update(self._stack[-1], _dictionary(zip(items[::2], items[1::2], strict=True)))

    def _storage(self, identity: Any) -> Storage:
        match identity:
            case ("storage", Global(name), str(key), str(), int(size), *rest) if name in DTYPES and not any(rest):
                storage = Storage(key, DTYPES[name], size)
            case _:
                raise WeightsError("the pickle describes a storage of an unknown kind")
        if self.storages.setdefault(key, storage) != storage:
            raise WeightsError(f"storage {key:.100} is described in two ways")
        return storage


def _known(name: Global) -> Global:
    if name.name not in DTYPES and name.name not in REBUILD:
        raise WeightsError(f"the pickle asks for {name.name.replace(' ', '.'):.100}; {ADVICE}")
    return name


def _rebuild(function: Any, arguments: Any) -> Any:
    if not (isinstance(function, Global) and function.name in REBUILD and isinstance(arguments, tuple)):
        raise WeightsError("the pickle calls an object that is no function")
    return REBUILD[function.name](*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Describes a tensor; what may follow is whether it needs a gradient, and hooks."""
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise WeightsError("the pickle describes a tensor of an unknown kind")
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *strides)):
        raise WeightsError("the pickle describes a tensor with an offset, a size or a stride that is no natural number")
    return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _dictionary(items: Iterable[Any] = ()) -> dict[str | int, Any]:
    """Makes a dictionary; Python 2 pickled an OrderedDict with a list of pairs."""
    pairs = [(key, value) for key, value in items]
    if not all(isinstance(key, str | int) for key, _ in pairs):
        raise WeightsError("the pickle has a dictionary with keys that are neither names nor integers")
    return dict(pairs)


REBUILD: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _dictionary,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_tensor": _tensor,  # before PyTorch 0.4
    "torch._utils _rebuild_tensor_v2": _tensor,
}
