"""What a model is made of: each layer's output, receptive field, parameters and multiply-adds."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.extend.core import Jaxpr

from jaxvision.initialize import abstract_variables
from jaxvision.ops.arithmetic import contractions
from jaxvision.ops.receptive_field import Reach, follow, image_reach

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module with parameters or multiply-adds of its own: those of its submodules are in their layers.

    Attributes:
        path: names of the modules down to this one, joined by slashes.
        kind: class of the module.
        shapes: of the outputs, those of repeated calls once; inside a scan of one step, under `vmap` of one element;
            empty where the model does without this layer in inference.
        receptive_field: height and width, in pixels, of the part of the image that a value of the output depends on;
            infinite for all of an image of any size; None where the layer is not called, or the input is no image.
        parameters: how many numbers it learns.
        multiply_adds: as `jaxvision.ops.arithmetic.multiply_adds` counts them.
    """

    path: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    receptive_field: tuple[float, float] | None
    parameters: int
    multiply_adds: int


def summarize(model: nn.Module, example: Any = None) -> list[Layer]:
    """Traces a model in inference, computing nothing, and returns its layers in the order in which they are called.

    Parameters and multiply-adds of the whole model are the sums over the layers.

    Args:
        model: a module with an `example_input` method, as `create_model` gives it.
        example: `jax.ShapeDtypeStruct`s of the input; None for the model's own example, one image or sequence.
    """
    example = model.example_input() if example is None else example
    defined, called = _Calls(), _Calls()
    with nn.intercept_methods(defined.record):
        variables = abstract_variables(model)
    with nn.intercept_methods(called.record):
        traced = jax.make_jaxpr(lambda variables, x: model.apply(variables, x, train=False))(variables, example)
    parameters = _parameters_by_module(variables.get("params", {}), defined.kinds)
    products = called.by_module(contractions(traced.jaxpr))
    fields = called.last_by_module(_reaches(traced.jaxpr, example))
    return [
        Layer("/".join(path), kind, tuple(called.shapes[path]), fields.get(path), parameters[path], products[path])
        for path, kind in (defined.kinds | called.kinds).items()
        if parameters[path] or products[path]
    ]


def table(layers: list[Layer]) -> str:
    """Returns the layers as aligned text, one line each, the totals last."""
    rows = [("layer", "type", "output", "sees", "parameters", "multiply-adds")]
    for layer in layers:
        shapes = " ".join("x".join(map(str, shape)) or "scalar" for shape in layer.shapes) or "-"
        counts = f"{layer.parameters:,}", f"{layer.multiply_adds:,}"
        rows.append((layer.path or ".", layer.kind, shapes, _sees(layer.receptive_field), *counts))
    rows.append(("total", "", "", "", *(f"{total:,}" for total in totals(layers))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligns = "<<<>>>"
    lines = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, aligns, widths, strict=True))
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _sees(field: tuple[float, float] | None) -> str:
    if field is None:
        return "-"
    return "all" if math.inf in field else "x".join(map(str, field))


def totals(layers: Iterable[Layer]) -> tuple[int, int]:
    """Returns the parameters and the multiply-adds of all layers together."""
    return sum(layer.parameters for layer in layers), sum(layer.multiply_adds for layer in layers)


class _Calls:
    """The modules called while a function is traced.

    Each call is traced in a name scope of its own making, by which its equations are told later: Flax's own scopes
    hold the names of methods and leave out parents.
    """

    def __init__(self):
        self.kinds: dict[Path, str] = {}
        self.shapes: dict[Path, dict[tuple[int, ...], None]] = collections.defaultdict(dict)  # an ordered set each
        self._open: list[Path] = []

    def record(self, method, args, kwargs, context):
        """Is the interceptor of `flax.linen.intercept_methods`."""
        if context.module.scope is None:  # a method such as `example_input`, on the model outside of `init` and `apply`
            return method(*args, **kwargs)
        path = context.module.path
        self.kinds.setdefault(path, type(context.module).__name__)
        outermost = path not in self._open  # `__call__` may go through other methods of the module
        self._open.append(path)
        with jax.named_scope(f"module<{list(self.kinds).index(path)}>"):
            output = method(*args, **kwargs)
        self._open.pop()
        if outermost:
            self.shapes[path] |= {leaf.shape: None for leaf in jax.tree.leaves(output) if hasattr(leaf, "shape")}
        return output

    def by_module(self, counts: Iterable[tuple[str, int]]) -> collections.Counter[Path]:
        """Sums the counts by the innermost module their scope names."""
        paths = list(self.kinds)
        sums = collections.Counter()
        for scope, count in counts:
            modules = re.findall(r"module<(\d+)>", scope)
            sums[paths[int(modules[-1])]] += count
        return sums

    def last_by_module(self, reaches: Iterable[tuple[str, Reach]]) -> dict[Path, tuple[float, float]]:
        """Returns the sizes of the last reach in the scope of each module: that of its output."""
        paths, last = list(self.kinds), {}
        for scope, reach in reaches:
            last |= {paths[int(module)]: reach for module in re.findall(r"module<(\d+)>", scope)}
        return {path: tuple(span.size for span in reach) for path, reach in last.items()}


def _reaches(jaxpr: Jaxpr, example: Any) -> Iterator[tuple[str, Reach]]:
    """Yields the name scope and the reach of each result that depends on the image, if there is one."""
    if getattr(example, "ndim", None) != 4:
        return
    inputs = [(None, None)] * (len(jaxpr.invars) - 1) + [image_reach()]
    for scope, reaches in follow(jaxpr, inputs):
        yield from ((scope, reach) for reach in reaches if all(reach))


def _parameters_by_module(params: dict[str, Any], modules: Iterable[Path]) -> collections.Counter[Path]:
    sums = collections.Counter()
    for path, leaf in flatten_dict(params).items():
        owner = next(path[:end] for end in reversed(range(len(path))) if path[:end] in modules)
        sums[owner] += math.prod(leaf.shape)
    return sums
