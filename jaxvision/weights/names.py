"""What the variables of a model are called in the files of other libraries.

A model's `torch_names()` gives a table for each layout, with one line per kind of layer:
`"stage{i}_block{j}/conv{k}": "layer{i}.{j-1}.conv{k}"`. The left side is matched with the paths of our own tree, a
placeholder being digits or small letters; the right side is formatted with what the placeholders matched, and may
calculate with it. So either direction walks our tree, and foreign names are never parsed.

- A line names a layer, whose variables follow as `.weight`, `.bias` and so on, or a single variable.
- `{leaf}` on the right places that last part elsewhere: `"attention.in_proj_{leaf}"`.
- A tuple on the right names equal parts, which are joined along the output axis of ours.
- `Line(foreign, transform=...)` names one of `TRANSFORMS`.
- `Line(foreign, optional=...)` is of a part that the model may be without though files hold it, such as auxiliary
  heads: then their keys are ignored.
- `Line(foreign, constants=...)` names arrays that files hold beside a variable and that the architecture determines:
  they are compared when a file has them, and written.
- `Line(foreign, copies=...)` names keys under which files hold the same variable once more: they are compared when a
  file has them, and written.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from jaxvision.initialize import abstract_variables

OWN_LAYOUT = "jaxvision"  # our paths as they are: "params/backbone/conv1/kernel"
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
HEAD = (("params", "head", "kernel"), ("params", "head", "bias"))

Path = tuple[str, ...]  # collection, layers, leaf


@dataclasses.dataclass(frozen=True)
class Line:
    """The right side of a line.

    Attributes:
        foreign: name or names.
        transform: where the leaf's usual one is not right.
        optional: how the keys begin that are ignored in files where no variable of the model matches the line.
        constants: by name, what files hold there whatever the weights are.
        copies: names under which files hold the same again.
    """

    foreign: str | tuple[str, ...]
    transform: str | None = None
    optional: tuple[str, ...] = ()
    constants: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    copies: tuple[str, ...] = ()


class Transform(NamedTuple):
    """A change of layout and its inverse."""

    read: Callable[[np.ndarray], np.ndarray]  # foreign -> ours
    write: Callable[[np.ndarray], np.ndarray]  # ours -> foreign


def _read_kernel(weight: np.ndarray) -> np.ndarray:  # [O, I, ...] -> [..., I, O]
    return np.moveaxis(weight, (0, 1), (-1, -2))


def _write_kernel(kernel: np.ndarray) -> np.ndarray:  # [..., I, O] -> [O, I, ...]
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _conv_as_dense(size: int) -> dict[str, Transform]:
    """Of a convolution with a square kernel as large as its map, in the file a dense layer after a flattened map."""
    as_conv = lambda weight: weight.reshape(len(weight), -1, size, size)  # [O, C h w] -> [O, C, h, w]
    read = lambda weight: _read_kernel(as_conv(weight))
    write = lambda kernel: _write_kernel(kernel).reshape(kernel.shape[-1], -1)
    return {"kernel": Transform(read, write)}


def _read_biases(biases: np.ndarray) -> np.ndarray:  # [2 C] -> [3 C]
    """Returns the biases of queries, keys and values from those of the first and the last."""
    queries, values = np.split(biases, 2)
    return np.concatenate([queries, np.zeros_like(queries), values])


def _write_biases(biases: np.ndarray) -> np.ndarray:  # [3 C] -> [2 C]
    queries, _, values = np.split(biases, 3)
    return np.concatenate([queries, values])


UNCHANGED = Transform(lambda array: array, lambda array: array)
MAP = Transform(lambda vector: vector[:, 0, 0], lambda vector: vector[:, None, None])
ROW = Transform(lambda vector: vector[0], lambda vector: vector[None])
USUAL = {"kernel": Transform(_read_kernel, _write_kernel)}
TRANSFORMS = {  # by name, then by leaf; other leaves have their usual transform
    "dense_as_1x1_conv": {
        "kernel": Transform(lambda w: _read_kernel(w[:, :, 0, 0]), lambda k: _write_kernel(k)[:, :, None, None])
    },
    "6x6_conv_as_dense": _conv_as_dense(6),
    "7x7_conv_as_dense": _conv_as_dense(7),
    "vector_as_map": {"layer_scale": MAP, "log_scale": MAP},
    "vector_as_token": dict.fromkeys(
        ("class_token", "distillation_token"), Transform(lambda v: v[0, 0], lambda v: v[None, None])
    ),
    "vector_as_row": {"logits_bias": ROW},
    "untransposed": {"kernel": UNCHANGED},
    "without_bias_of_keys": {"bias": Transform(_read_biases, _write_biases)},
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of our variables, the keys under which a file holds it, and the constants and copies that it has beside."""

    path: Path
    shape: tuple[int, ...]
    keys: tuple[str, ...]
    transform: Transform = UNCHANGED
    constants: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    copies: tuple[str, ...] = ()

    def read(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Returns our array from the file's; their output axis is the first."""
        return self.transform.read(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def write(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the file's arrays by key, as views of ours."""
        foreign = self.transform.write(array)
        parts = [foreign] if len(self.keys) == 1 else np.split(foreign, len(self.keys))
        return dict(zip(self.keys, parts, strict=True))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the file's arrays by key."""
        nothing = np.broadcast_to(np.float32(0), self.shape)  # takes no memory
        return {key: part.shape for key, part in self.write(nothing).items()}


@dataclasses.dataclass(frozen=True)
class NameMap:
    """The entries of one layout, the keys of a classifier's head, and patterns of those of other parts left out.

    The model may be without the head too.
    """

    layout: str
    entries: tuple[Entry, ...]
    head_keys: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def leaves_out(self, key: str) -> bool:
        """Tells whether a key is of an optional part that the model is without."""
        return any(re.fullmatch(pattern, key) for pattern in self.left_out)

    @property
    def counters(self) -> list[str]:
        """The keys in which PyTorch's BatchNorm counts its batches; nothing reads them, old files lack them."""
        means = [key for entry in self.entries for key in entry.keys if key.endswith(".running_mean")]
        return [key.removesuffix("running_mean") + "num_batches_tracked" for key in means]

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """What files hold beside the variables, by key."""
        return {key: array for entry in self.entries for key, array in entry.constants.items()}

    @property
    def copies(self) -> dict[str, str]:
        """The keys of what files hold a second time, and where they have the first."""
        return {copy: entry.keys[0] for entry in self.entries for copy in entry.copies}

    @property
    def keys(self) -> set[str]:
        """All keys that a file of this layout may hold."""
        variables = {key for entry in self.entries for key in entry.keys}
        return variables | {*self.counters, *self.constants, *self.copies, *self.head_keys}


def name_maps(model: nn.Module) -> dict[str, NameMap]:
    """Returns the name map of each layout of a model, our own layout the last.

    Raises:
        ValueError: a table of the model is wrong: no line or several match a variable, or two variables share a key.
    """
    shapes = {path: leaf.shape for path, leaf in flatten_dict(abstract_variables(model)).items()}
    tables = model.torch_names()
    maps = {layout: _foreign_map(layout, lines, shapes) for layout, lines in tables.items()}
    entries = tuple(Entry(path, shape, ("/".join(path),)) for path, shape in shapes.items())
    head = ["/".join(path) for path in HEAD if any("head" in lines for lines in tables.values())]
    left_out = {
        f"[^/]+/{_pattern(ours).pattern}/[^/]+" for lines in tables.values() for ours, _ in _left_out(lines, shapes)
    }
    return maps | {OWN_LAYOUT: NameMap(OWN_LAYOUT, entries, tuple(head), tuple(left_out))}


def _foreign_map(layout: str, lines: Mapping[str, Any], shapes: Mapping[Path, tuple[int, ...]]) -> NameMap:
    try:
        entries = tuple(_entry(path, shape, lines) for path, shape in shapes.items())
        head = [key for path in HEAD if "head" in lines for key in _entry(path, (), lines).keys]
        left_out = {re.escape(start) + ".*" for _, line in _left_out(lines, shapes) for start in line.optional}
        names = NameMap(layout, entries, tuple(head), tuple(left_out))
        held = (key for entry in entries for key in (*entry.keys, *entry.constants, *entry.copies))
        _refuse_duplicates([*held, *names.counters])
    except ValueError as error:
        raise ValueError(f"name map {layout!r}: {error}") from error
    return names


def _left_out(lines: Mapping[str, Any], paths: Iterable[Path]) -> Iterator[tuple[str, Line]]:
    """Yields the optional lines that match no variable."""
    optional = {ours: line for ours, line in lines.items() if isinstance(line, Line) and line.optional}
    found = {template for path in paths for template, *_ in _matches(path, optional)} if optional else set()
    return ((ours, line) for ours, line in optional.items() if ours not in found)


def _entry(path: Path, shape: tuple[int, ...], lines: Mapping[str, Any]) -> Entry:
    matches = list(_matches(path, lines))
    if len(matches) != 1:
        found = " and ".join(repr(template) for template, *_ in matches) or "no line"
        raise ValueError(f"{found} for the variable {'/'.join(path)}")
    _, line, ending, values = matches[0]
    templates = (line.foreign,) if isinstance(line.foreign, str) else line.foreign
    keys = tuple(_format(name if "{leaf}" in name else name + ending, values) for name in templates)
    usual = USUAL.get(path[-1], UNCHANGED)
    transform = TRANSFORMS[line.transform].get(path[-1], usual) if line.transform else usual
    constants = {_format(name, values): array for name, array in line.constants.items()}
    return Entry(path, shape, keys, transform, constants, tuple(_format(name, values) for name in line.copies))


def _matches(path: Path, lines: Mapping[str, Any]) -> Iterator[tuple[str, Line, str, dict[str, Any]]]:
    """Yields template, line, ending and placeholders of the lines for the variable's layer or the variable itself."""
    leaf = LEAVES.get(path[-1], path[-1])
    for template, foreign in lines.items():
        for ours, ending in ((path[1:-1], ".{leaf}"), (path[1:], "")):
            if found := _pattern(template).fullmatch("/".join(ours)):
                values = {name: int(text) if text.isdigit() else text for name, text in found.groupdict().items()}
                yield template, foreign if isinstance(foreign, Line) else Line(foreign), ending, values | {"leaf": leaf}


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[0-9a-z]+)", re.escape(template)))


def _format(template: str, values: Mapping[str, Any]) -> str:
    """Fills in the expressions of a foreign name, which stand in our own source code, never in a file."""
    return re.sub(r"\{(.+?)\}", lambda found: str(eval(found[1], {"__builtins__": {}}, values)), template)


def _refuse_duplicates(keys: Iterable[str]) -> None:
    seen: set[str] = set()
    if twice := sorted({key for key in keys if key in seen or seen.add(key)}):
        raise ValueError(f"several variables share the keys {', '.join(twice)}")
