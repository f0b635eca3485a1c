"""Dictionaries of arrays of bytes [rows, columns], lists, numbers and strings as Python 2 pickled them, protocol 2.

A pickle is a program, and Python's own unpickler calls whatever functions it names. Here a machine of its own runs it,
which knows what such dictionaries are made of and nothing else. https://docs.python.org/3/library/pickletools.html
describes the operations.
"""

import pickletools
from typing import Any

import numpy as np

RECONSTRUCT, ARRAY, DTYPE = "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"
EMPTY = object()
"""An array before its state is set."""
UINT8 = object()
"""The type of its elements."""


class PickleError(ValueError):
    """A pickle is damaged, or asks for more than such dictionaries."""


def read_pickle(data: bytes) -> dict[str, Any]:
    """Reads a dictionary with strings as keys; arrays in it are uint8.

    Raises:
        PickleError: the bytes are no such pickle; what else it asks for is named.
    """
    try:
        value = _Machine().run(data)
    except PickleError:
        raise
    except Exception as error:  # bytes made to do harm may go wrong anywhere
        raise PickleError(f"malformed pickle: {type(error).__name__}: {error!s:.200}") from error
    if not isinstance(value, dict):
        raise PickleError(f"the pickle holds no dictionary but an object of type {type(value).__name__}")
    return value


class _Global(str):
    """A name that stands in the pickle: "module name"."""


class _Machine:
    """Runs one pickle.

    Nothing recurses, and only strings are hashed, so that time and memory grow with the pickle's length.
    """

    def __init__(self):
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                return self._stack.pop()
            self._step(operation.name, argument)

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "SHORT_BINSTRING" | "BINSTRING":
                stack.append(argument)  # strings come as Latin-1, a character to a byte
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
                stack.append(_known(argument))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_begin(function, arguments))
            case "BUILD":
                state, unfinished = stack.pop(), stack.pop()
                stack.append(_finish(unfinished, state))
            case _:
                raise PickleError(f"the pickle asks for the operation {name}")

    def _put(self, name: str, items: list[Any]) -> None:
        """Makes a tuple of the items, or puts them into the list or dictionary on top of the stack."""
        if name.startswith("TUPLE"):
            self._stack.append(tuple(items))
        elif name.startswith("APPEND"):
            list.extend(self._stack[-1], items)  # a TypeError where that is no list
        else:
            if not all(isinstance(key, str) for key in items[::2]):
                raise PickleError("the pickle has a dictionary with keys that are no strings")
            dict.update(self._stack[-1], zip(items[::2], items[1::2], strict=True))


def _known(name: str) -> _Global:
    if name not in (RECONSTRUCT, ARRAY, DTYPE):
        raise PickleError(f"the pickle asks for {name.replace(' ', '.'):.100}")
    return _Global(name)


def _begin(function: Any, arguments: Any) -> object:
    """Returns what stands for an array or an element type until its state is set."""
    if isinstance(function, _Global):
        if function == RECONSTRUCT and arguments == (ARRAY, (0,), "b"):
            return EMPTY
        if function == DTYPE and arguments == ("u1", 0, 1):
            return UINT8
    raise PickleError("the pickle makes something other than an array of bytes")


def _finish(unfinished: object, state: Any) -> Any:
    """Sets a state, as `ndarray.__setstate__` and `dtype.__setstate__` do."""
    if unfinished is UINT8:
        return UINT8
    match state:
        case (1, (int(rows), int(columns)), dtype, bool(fortran), str(data)) if unfinished is EMPTY and dtype is UINT8:
            flat = np.frombuffer(data.encode("latin-1"), np.uint8)
            return flat.reshape((rows, columns), order="F" if fortran else "C")
    raise PickleError("the pickle sets the state of something other than an array of bytes")
