"""Weights from files and into files."""

import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jaxvision.weights.convert import from_foreign, to_foreign
from jaxvision.weights.errors import DigestError, WeightsError
from jaxvision.weights.hub import check_digest, fetch, is_remote, promised_digest
from jaxvision.weights.names import OWN_LAYOUT
from jaxvision.weights.torch_file import read_torch

SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def load_weights(
    model: nn.Module, source: str | os.PathLike[str], *, new_head: jax.Array | None = None, sha256: str = ""
) -> dict[str, Any]:
    """Reads the variables of a model from a file, of this machine or of another.

    Args:
        model: as `create_model` gives it. With `num_classes=0` the head of the file is left unused.
        source: the path of a .safetensors file, or of a .pth, .pt or .bin file of PyTorch, in any layout that the model
            knows (`model.torch_names()`) or that `save_weights` wrote. A state dict may lie within a dictionary, and
            `module.` stand before all its keys. Or `hf:owner/name@commit`, `hf:owner/name@commit:file` (see
            `jaxvision.weights.hub`), or the address of such a file, `https://...`, if `sha256` is given.
        new_head: a key from `jax.random.key`: the head is drawn anew, as for another number of classes.
        sha256: the digest of the file, hexadecimal, or its first eight digits or more: any other file is refused.

    Returns:
        The variables by collection, `{"params": ..., "batch_stats": ...}`, float32, as `init` gives them.

    Raises:
        WeightsError: the file cannot be fetched or read, or does not fit the model: every such key is named.
        OSError: the file cannot be opened.
    """
    remote = is_remote(source)
    path = fetch(source, sha256) if remote else pathlib.Path(source)
    name = f"{source}: {path.resolve()}" if remote else str(path)
    try:
        data = path.read_bytes()
        for digest in (sha256, promised_digest(path)):
            check_digest(data, digest)
        return from_foreign(model, _without_prefix(_read(path.suffix, data)), new_head=new_head)
    except DigestError as error:
        raise DigestError(f"{name}: {error}; delete it and fetch it again") from error
    except WeightsError as error:
        raise WeightsError(f"{name}: {error}") from error


def save_weights(
    model: nn.Module,
    variables: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    layout: str = OWN_LAYOUT,
    overwrite: bool = False,
) -> None:
    """Writes the variables of a model to a .safetensors file, in float32; the file appears at once or not at all.

    Args:
        model: as `create_model` gives it.
        variables: by collection, as `init` gives them.
        path: must end in .safetensors.
        layout: "jaxvision", or a key of `model.torch_names()`: then the other library loads the file.
        overwrite: whether to replace a file that is there.

    Raises:
        WeightsError: another suffix, an unknown layout, or variables that are not the model's.
        FileExistsError: the file is there, and `overwrite` is false.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights are written as .safetensors")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; overwrite=True replaces it")
    arrays = to_foreign(model, variables, layout)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(safetensors.numpy.save(arrays))  # save_file makes files that nobody else can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(suffix: str, data: bytes) -> dict[str, Any]:
    readers = {".safetensors": read_safetensors} | dict.fromkeys((".pth", ".pt", ".bin"), read_torch)
    if suffix not in readers:
        raise WeightsError(f"unknown kind of file; known are {', '.join(readers)}")
    return readers[suffix](data)


def _without_prefix(arrays: dict[str, Any]) -> dict[str, Any]:
    """Takes away the name that PyTorch's DataParallel and DistributedDataParallel put before all keys."""
    if all(key.startswith("module.") for key in arrays):
        return {key.removeprefix("module."): array for key, array in arrays.items()}
    return arrays


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays in the bytes of a .safetensors file by name, as views of them.

    Raises:
        WeightsError: the bytes are no such file, or an array has a type that NumPy lacks.
    """
    try:
        tensors = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise WeightsError(f"malformed .safetensors file: {error}") from error
    if unknown := {name for name, tensor in tensors.items() if tensor["dtype"] not in SAFETENSORS_TYPES}:
        raise WeightsError(f"arrays of unknown types: {', '.join(sorted(unknown))}")
    return {
        name: np.frombuffer(tensor["data"], SAFETENSORS_TYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in tensors.items()
    }
