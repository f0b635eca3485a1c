"""Variables of a model from the named arrays of a file, and back: pure functions, without any file."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from jaxvision.initialize import zeros_like_example
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.names import OWN_LAYOUT, Entry, NameMap, Path, name_maps

Differences = dict[str, dict[str, str]]  # by kind and key: what was expected and found


def from_foreign(
    model: nn.Module,
    arrays: Mapping[str, Any],
    layout: str | None = None,
    new_head: jax.Array | None = None,
    *,
    dtype: DTypeLike = np.float32,
) -> dict[str, Any]:
    """Fills the variables of a model from named arrays, each of which must be used.

    Args:
        model: as `create_model` gives it. One without a head (`num_classes=0`) leaves the head's arrays unused. Its
            method `fits`, if it has one, gives functions by name of a variable, such as "backbone/positions": each
            makes of an array of another shape what the model can take, or returns it as it is.
        arrays: by the keys of the layout; a BatchNorm's `num_batches_tracked` and the layout's constants and copies may
            be there or not.
        layout: one of `model.torch_names()`, or "jaxvision"; None takes the one that shares most keys.
        new_head: a key from `jax.random.key`: the head is drawn anew, whatever the arrays hold for it; so are the last
            layers of auxiliary heads.
        dtype: of the variables; any floating-point type is cast to it.

    Returns:
        The variables by collection, as `init` gives them; they share no memory with `arrays`.

    Raises:
        WeightsError: arrays are missing, unused, misshapen, not of floating point, constants other than the
            architecture has, or copies other than the variable: all of them by name.
    """
    maps = name_maps(model)
    names = _nearest_layout(maps, arrays) if layout is None else _known_layout(maps, layout)
    head = [entry for entry in names.entries if _in_head(entry)]
    if new_head is not None and not head:
        raise WeightsError("new_head is for models with a head; this one has none")
    entries = names.entries if new_head is None else [entry for entry in names.entries if not _in_head(entry)]
    arrays = {**arrays, **dict(_fitted(model, entries, arrays))}
    ignored = [*names.counters, *names.constants, *names.copies]
    ignored += names.head_keys if new_head is not None or not head else ()
    ignored += [key for entry in names.entries if new_head is not None and _in_head(entry) for key in entry.keys]
    ignored += [key for key in arrays if names.leaves_out(key)]
    differences = _differences(entries, arrays, ignored) | _other_constants(names.constants, arrays)
    if differences := differences | _other_copies(names.copies, arrays):
        raise WeightsError(_report(names.layout, differences) + _head_hint(names, differences, arrays))
    flat = {entry.path: entry.read([np.asarray(arrays[key]) for key in entry.keys]) for entry in entries}
    if new_head is not None:
        flat |= _draw_heads(model, [entry.path for entry in head], new_head)
    # The copy is NumPy's: jnp.array reads its argument some time after it has returned.
    return unflatten_dict({path: jnp.asarray(np.array(array, dtype, order="C")) for path, array in flat.items()})


def to_foreign(
    model: nn.Module, variables: Mapping[str, Any], layout: str = OWN_LAYOUT, *, dtype: DTypeLike = np.float32
) -> dict[str, np.ndarray]:
    """Names the variables of a model as files of a layout do.

    Args:
        model: as `create_model` gives it.
        variables: by collection, as `init` gives them.
        layout: one of `model.torch_names()`, or "jaxvision".
        dtype: of the arrays but constants; each BatchNorm's `num_batches_tracked` is an int64 zero, as strict loading
            wants it.

    Returns:
        C-contiguous arrays by key; they share no memory with `variables`.

    Raises:
        WeightsError: the layout is unknown, or the variables are not the model's: all differences by name.
    """
    maps = name_maps(model)
    names = _known_layout(maps, layout)
    flat = flatten_dict(variables)
    named = {"/".join(path): leaf for path, leaf in flat.items()}
    if differences := _differences(maps[OWN_LAYOUT].entries, named):
        raise WeightsError(_report(OWN_LAYOUT, differences))
    arrays: dict[str, np.ndarray] = {}
    for entry in names.entries:
        parts = entry.write(np.asarray(flat[entry.path]))
        arrays |= {key: np.array(part, dtype, order="C") for key, part in parts.items()}
    constants = {key: array.copy() for key, array in names.constants.items()}
    constants |= {copy: arrays[key].copy() for copy, key in names.copies.items()}
    return arrays | constants | {key: np.zeros((), np.int64) for key in names.counters}


def _fitted(model: nn.Module, entries: Iterable[Entry], arrays: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of another shape that the model has a way to fit, fitted, by key."""
    fits = model.fits() if hasattr(model, "fits") else {}
    for entry in entries:
        fit, (key, *_) = fits.get("/".join(entry.path[1:])), entry.keys
        if fit and isinstance(array := arrays.get(key), np.ndarray) and array.shape != entry.shapes()[key]:
            yield key, fit(array)


def _in_head(entry: Entry) -> bool:
    return entry.path[-2:-1] == ("head",)


def _draw_heads(model: nn.Module, paths: Collection[Path], key: jax.Array) -> dict[Path, jax.Array]:
    """Draws the heads alone, as `init` with that key does up to rounding: they are compiled otherwise."""
    example = zeros_like_example(model)

    @jax.jit
    def draw(key):
        variables = flatten_dict(model.init(key, example, train=False))
        return {path: variables[path] for path in paths}

    return draw(key)


def _known_layout(maps: Mapping[str, NameMap], layout: str) -> NameMap:
    if layout not in maps:
        near = difflib.get_close_matches(layout, maps, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WeightsError(f"unknown layout {layout!r}; the model has {', '.join(maps)}{hint}")
    return maps[layout]


def _nearest_layout(maps: Mapping[str, NameMap], arrays: Mapping[str, Any]) -> NameMap:
    shared = {layout: len(names.keys & set(arrays)) for layout, names in maps.items()}
    layout = max(shared, key=shared.__getitem__)
    if shared[layout] == 0:
        names, found = "; ".join(f"{layout}: {min(names.keys)}" for layout, names in maps.items()), _some(arrays)
        raise WeightsError(f"no key belongs to a layout of the model (such as {names}); found {found}")
    return maps[layout]


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def _differences(entries: Iterable[Entry], arrays: Mapping[str, Any], ignored: Collection[str] = ()) -> Differences:
    """Returns what is wrong with each array that is not as the entries say, by kind and key."""
    expected = {key: shape for entry in entries for key, shape in entry.shapes().items()}
    differences: Differences = {}
    for key in sorted((expected.keys() | arrays.keys()) - set(ignored)):
        if kind := _kind_of_difference(key, expected, arrays):
            details = [f"expected {expected[key]}"] if key in expected else []
            details += [f"found {_describe(arrays[key])}"] if key in arrays else []
            differences.setdefault(kind, {})[key] = ", ".join(details)
    return differences


def _kind_of_difference(key: str, expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> str | None:
    if key not in arrays:
        return "missing"
    if key not in expected:
        return "unused"
    array = arrays[key]
    if not (isinstance(array, np.ndarray | jax.Array) and jnp.issubdtype(array.dtype, jnp.floating)):
        return "not floating-point"
    return "misshapen" if array.shape != expected[key] else None


def _other_constants(constants: Mapping[str, np.ndarray], arrays: Mapping[str, Any]) -> Differences:
    """Returns which arrays are not the constants of their keys, up to the rounding of their type."""
    differences = {}
    for key in sorted(constants.keys() & arrays.keys()):
        expected, found = constants[key], np.asarray(arrays[key])
        tolerance = 4 * jnp.finfo(found.dtype).eps if jnp.issubdtype(found.dtype, jnp.floating) else 0
        if found.shape != expected.shape or not np.allclose(np.float64(found), expected, rtol=tolerance, atol=0):
            differences[key] = f"expected {_describe(expected)}, found {_describe(arrays[key])}"
    return {"of another architecture": differences} if differences else {}


def _other_copies(copies: Mapping[str, str], arrays: Mapping[str, Any]) -> Differences:
    """Returns which arrays are not the same as those that they should be copies of."""
    pairs = {copy: key for copy, key in copies.items() if {copy, key} <= arrays.keys()}
    other = {
        copy: f"expected the array of {key}, found another"
        for copy, key in pairs.items()
        if not np.array_equal(np.asarray(arrays[copy]), np.asarray(arrays[key]))
    }
    return {"not a copy": other} if other else {}


def _describe(array: Any) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray | jax.Array) else type(array).__name__


def _report(layout: str, differences: Differences) -> str:
    lines = [f"the weights do not fit the model (layout {layout!r})"]
    for kind, keys in differences.items():
        lines += [f"  {kind} ({len(keys)}):", *(f"    {key}: {text}" for key, text in keys.items())]
    return "\n".join(lines)


def _head_hint(names: NameMap, differences: Differences, arrays: Mapping[str, Any]) -> str:
    """Tells what to do where the head is among the differences."""
    if not any(key in keys for key in names.head_keys for keys in differences.values()):
        return ""
    kernel, axis = names.head_keys[0], -1 if names.layout == OWN_LAYOUT else 0
    ours = next(entry.shapes()[kernel][axis] for entry in names.entries if kernel in entry.keys)
    theirs = np.shape(arrays[kernel])[axis] if np.ndim(arrays.get(kernel)) else "none"
    return f"\nclasses: {ours} in the model, {theirs} in the file; new_head=jax.random.key(...) draws a new head"
