"""The receptive field: which pixels of an image a value of a feature map depends on.

Followed through a traced function, so that it holds for any function of an image, branches and all. It is the set of
pixels the structure lets a value depend on; kernels that hold zeros, or ReLUs that are shut, may use fewer of them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from jaxvision.ops.arithmetic import default_branches

Reach = tuple["Span | None", ...]  # for each axis of the image; None: what does not depend on the image


@dataclasses.dataclass(frozen=True)
class Span:
    """What the values of an array depend on along one axis of the image.

    Value number i, counted along one axis of the array, depends on the pixels `first + i jump` to `last + i jump`, of
    which those outside the image are padding.

    Attributes:
        axis: of the array; None where each value depends on all pixels.
        jump: pixels from one value to the next.
        first, last: the pixels that value 0 depends on.
    """

    axis: int | None
    jump: Fraction = Fraction(0)
    first: Fraction = Fraction(0)
    last: Fraction = Fraction(0)

    @property
    def size(self) -> float:
        """How many pixels; infinite for all of an image of any size."""
        return math.inf if self.axis is None else math.floor(self.last) - math.ceil(self.first) + 1

    def windowed(self, axis: int, start: int, length: int, stride: Fraction | int = 1) -> "Span":
        """Returns the span of windows over the values: the first from value `start` on, `length` values long."""
        first, last = self.first + start * self.jump, self.last + (start + length - 1) * self.jump
        return Span(axis, self.jump * stride, first, last)


ALL = Span(None)


def receptive_field(function: Callable, image: Any, *others: Any, axes: Sequence[int] = (1, 2)) -> Reach:
    """Returns what the output of a function depends on, without running it.

    Args:
        function: takes the image and the other arguments, and returns one array.
        image: an array or a `jax.ShapeDtypeStruct`.
        others: arrays, `jax.ShapeDtypeStruct`s or trees of them.
        axes: of the image, height and width.
    """
    traced = jax.make_jaxpr(function)(image, *others)
    nothing = (None,) * len(axes)
    *_, (_, (reach,)) = follow(traced.jaxpr, [image_reach(axes)] + [nothing] * len(jax.tree.leaves(others)))
    return reach


def image_reach(axes: Sequence[int] = (1, 2)) -> Reach:
    """Returns what the pixels of an image depend on: themselves."""
    return tuple(Span(axis, Fraction(1)) for axis in axes)


def follow(jaxpr: Jaxpr, inputs: Sequence[Reach], scope: str = "") -> Iterator[tuple[str, list[Reach]]]:
    """Yields the name scope and the reaches of the results of each equation of a traced function, its outputs last.

    Args:
        jaxpr: the traced function.
        inputs: the reaches of its arguments.
        scope: the name scope it is called in.
    """
    nothing = (None,) * len(inputs[0])
    known: dict[Var, Reach] = dict(zip(jaxpr.invars, inputs, strict=True))
    of = lambda atom: nothing if isinstance(atom, Literal) else known.get(atom, nothing)
    for equation in jaxpr.eqns:
        here = f"{scope}/{equation.source_info.name_stack}"
        operands = [of(atom) for atom in equation.invars]
        if equation.primitive.name == "cond":
            branches = [branch.jaxpr for branch in default_branches(equation)]
            bodies = [list(follow(branch, operands[1:], here)) for branch in branches]
            for body in bodies:
                yield from body[:-1]
            results = [_union(*reaches) for reaches in zip(*(body[-1][1] for body in bodies), strict=True)]
        elif equation.primitive.name not in LOOPS and (inner := list(jaxprs_in_params(equation.params))):
            body = list(follow(inner[0], operands, here))
            yield from body[:-1]
            results = body[-1][1]
        else:
            results = _results(equation, operands, nothing)
        known |= dict(zip(equation.outvars, results, strict=True))
        yield here, results
    yield scope, [of(atom) for atom in jaxpr.outvars]


def _union(*reaches: Reach) -> Reach:
    return tuple(_union_of_spans([span for span in spans if span]) for spans in zip(*reaches, strict=True))


def _union_of_spans(spans: list[Span]) -> Span | None:
    if not spans:
        return None
    if ALL in spans or len({(span.axis, span.jump) for span in spans}) > 1:
        return ALL
    return dataclasses.replace(spans[0], first=min(s.first for s in spans), last=max(s.last for s in spans))


def _results(equation: JaxprEqn, operands: list[Reach], nothing: Reach) -> list[Reach]:
    """Returns the reaches of the results of a primitive."""
    name = equation.primitive.name
    if not any(span for reach in operands for span in reach):
        return [nothing] * len(equation.outvars)
    if name == "split":
        return _split(equation, operands[0])
    if name in RULES:
        reaches = [
            tuple(span if span in (None, ALL) else RULES[name](equation, number, span) for span in reach)
            for number, reach in enumerate(operands)
        ]
    elif name.startswith("reduce_window"):
        reaches = [tuple(span if span in (None, ALL) else _window(equation, span) for span in operands[0])]
    elif name in ALONG_AN_AXIS or name.startswith(("dynamic", "scatter")) or not _is_elementwise(equation, operands):
        reaches = [tuple(span and ALL for span in reach) for reach in operands]
    else:
        reaches = operands
    return [_union(*reaches)] * len(equation.outvars)


def _is_elementwise(equation: JaxprEqn, operands: list[Reach]) -> bool:
    shape = equation.outvars[0].aval.shape
    return all(
        span in (None, ALL) or (atom.aval.ndim == len(shape) and atom.aval.shape[span.axis] == shape[span.axis])
        for atom, reach in zip(equation.invars, operands, strict=True)
        for span in reach
    )


def _convolution(equation: JaxprEqn, operand: int, span: Span) -> Span:
    numbers, spatial = equation.params["dimension_numbers"], equation.params["dimension_numbers"].lhs_spec[2:]
    if operand == 0 and span.axis == numbers.lhs_spec[0]:
        return dataclasses.replace(span, axis=numbers.out_spec[0])
    if operand == 1 or span.axis not in spatial:
        return ALL
    number = spatial.index(span.axis)
    of = lambda name: equation.params[name][number]
    length = equation.invars[1].aval.shape[numbers.rhs_spec[2 + number]]
    spread = dataclasses.replace(span, jump=span.jump / of("lhs_dilation"))
    taps = (length - 1) * of("rhs_dilation") + 1
    return spread.windowed(numbers.out_spec[2 + number], -of("padding")[0], taps, of("window_strides"))


def _window(equation: JaxprEqn, span: Span) -> Span:
    of = lambda name: equation.params[name][span.axis]
    taps = (of("window_dimensions") - 1) * of("window_dilation") + 1
    spread = dataclasses.replace(span, jump=span.jump / of("base_dilation"))
    return spread.windowed(span.axis, -of("padding")[0], taps, of("window_strides"))


def _product(equation: JaxprEqn, operand: int, span: Span) -> Span:
    contracted, batch = (axes[operand] for axes in equation.params["dimension_numbers"])
    if span.axis in contracted:
        return ALL
    if span.axis in batch:
        return dataclasses.replace(span, axis=batch.index(span.axis))
    free = [axis for axis in range(equation.invars[operand].aval.ndim) if axis not in (*contracted, *batch)]
    first = equation.outvars[0].aval.ndim - len(free) if operand else len(batch)
    return dataclasses.replace(span, axis=first + free.index(span.axis))


def _reduction(equation: JaxprEqn, operand: int, span: Span) -> Span:
    return _without(equation.params["axes"], span)


def _squeeze(equation: JaxprEqn, operand: int, span: Span) -> Span:
    return _without(equation.params["dimensions"], span)


def _without(axes: Sequence[int], span: Span) -> Span:
    if span.axis in axes:
        return ALL
    return dataclasses.replace(span, axis=span.axis - sum(axis < span.axis for axis in axes))


def _broadcast(equation: JaxprEqn, operand: int, span: Span) -> Span:
    axis = equation.params["broadcast_dimensions"][span.axis]
    is_repeated = equation.invars[0].aval.shape[span.axis] != equation.outvars[0].aval.shape[axis]
    return ALL if is_repeated else dataclasses.replace(span, axis=axis)


def _reshape(equation: JaxprEqn, operand: int, span: Span) -> Span:
    """Finds the axis again where others were split or joined around it, or it was itself cut into windows.

    Of a window, each value counts as if it were of all pixels that the window is of.
    """
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    elements, size = math.prod(before[: span.axis]), before[span.axis]
    for axis, length in enumerate(after):
        if math.prod(after[:axis]) != elements:
            continue
        if length == size:
            return dataclasses.replace(span, axis=axis)
        if 1 < length < size and after[axis + 1 : axis + 2] == (size // length,) and size % length == 0:
            return span.windowed(axis, 0, size // length, stride=size // length)
    return ALL


def _transpose(equation: JaxprEqn, operand: int, span: Span) -> Span:
    return dataclasses.replace(span, axis=equation.params["permutation"].index(span.axis))


def _slice(equation: JaxprEqn, operand: int, span: Span) -> Span:
    strides = equation.params["strides"]
    return span.windowed(
        span.axis, equation.params["start_indices"][span.axis], 1, strides[span.axis] if strides else 1
    )


def _pad(equation: JaxprEqn, operand: int, span: Span) -> Span:
    before, _, between = equation.params["padding_config"][span.axis]
    return dataclasses.replace(span, jump=span.jump / (between + 1)).windowed(span.axis, -before, 1)


def _concatenation(equation: JaxprEqn, operand: int, span: Span) -> Span:
    axis = equation.params["dimension"]
    if span.axis != axis:
        return span
    return span.windowed(axis, -sum(atom.aval.shape[axis] for atom in equation.invars[:operand]), 1)


def _stack(equation: JaxprEqn, operand: int, span: Span) -> Span:
    return dataclasses.replace(span, axis=span.axis + (span.axis >= equation.params["axis"]))


def _split(equation: JaxprEqn, reach: Reach) -> list[Reach]:
    axis, sizes = equation.params["axis"], equation.params["sizes"]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    moved = lambda span, start: span.windowed(axis, start, 1) if span and span.axis == axis else span
    return [tuple(moved(span, start) for span in reach) for start in starts]


LOOPS = ("scan", "while")
ALONG_AN_AXIS = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "rev", "fft", "gather", *LOOPS)
RULES = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenation,
    "stack": _stack,
} | dict.fromkeys(["reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"], _reduction)
