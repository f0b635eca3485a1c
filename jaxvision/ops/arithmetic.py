"""The arithmetic of functions and layers: the size of what they return, and how many multiply-adds they take."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxprs_in_params


def output_size(size: int, window: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Returns how many values a convolution or pooling leaves of an axis: `(n + 2 p - f) / s + 1`, rounded down.

    Args:
        size: n, the pixels of the axis.
        window: f, the pixels of the kernel, between which `dilation - 1` are left out.
        stride: s, from one window to the next.
        padding: p, on each side.
        dilation: from one pixel of the kernel to the next.

    Raises:
        ValueError: the window does not fit, or an argument is out of range.
    """
    if min(size, window, stride, dilation) < 1 or padding < 0:
        raise ValueError(
            f"size, window, stride and dilation must be 1 or more and padding 0 or more, got {size}, {window}, "
            f"{stride}, {dilation} and {padding}"
        )
    free = size + 2 * padding - (dilation * (window - 1) + 1)
    if free < 0:
        raise ValueError(
            f"a window of {window} pixels at distances of {dilation} does not fit into {size} pixels padded by "
            f"{padding} on each side"
        )
    return free // stride + 1


def multiply_adds(function: Callable, *args: Any) -> int:
    """Counts the multiply-adds of the convolutions and matrix products of a function, without running it.

    As in the figures published with torchvision's weights, elementwise operations count nothing, zeros of the padding
    count like pixels, and a transposed convolution counts each tap of each input pixel once. The body of a scan counts
    once for each step, the body of a loop of unknown length once, a conditional as its most expensive branch, what
    depends on the platform as its default.

    Args:
        function: takes arrays or trees of arrays.
        args: the arrays, or `jax.ShapeDtypeStruct`s in their place.
    """
    return sum(count for _, count in contractions(jax.make_jaxpr(function)(*args).jaxpr))


def contractions(jaxpr: Jaxpr, scope: str = "", times: int = 1) -> Iterator[tuple[str, int]]:
    """Yields the name scope and the multiply-adds of each convolution and matrix product of a traced function.

    Args:
        jaxpr: the traced function.
        scope: the name scope it is called in.
        times: how often it is called.
    """
    for equation in jaxpr.eqns:
        primitive = equation.primitive.name
        here = f"{scope}/{equation.source_info.name_stack}"
        if primitive in COUNTS:
            yield here, times * COUNTS[primitive](equation)
        elif primitive == "cond":
            branches = [list(contractions(branch.jaxpr, here, times)) for branch in default_branches(equation)]
            yield from max(branches, key=lambda branch: sum(count for _, count in branch))
        else:
            steps = equation.params["length"] if primitive == "scan" else 1
            for body in jaxprs_in_params(equation.params):
                yield from contractions(body, here, times * steps)


def default_branches(equation: JaxprEqn) -> tuple[ClosedJaxpr, ...]:
    """Returns the branches of a conditional; of one that depends on the platform, the default alone."""
    branches, platforms = equation.params["branches"], equation.params.get("branches_platforms")
    return branches if platforms is None else branches[-1:]


def _convolution(equation: JaxprEqn) -> int:
    image, kernel = (variable.aval.shape for variable in equation.invars)
    out_features, in_features = (kernel[axis] for axis in equation.params["dimension_numbers"].rhs_spec[:2])
    if any(dilation > 1 for dilation in equation.params["lhs_dilation"]):  # transposed: each pixel meets each tap
        groups = equation.params["feature_group_count"]
        return math.prod(image) * math.prod(kernel) // (in_features * groups)
    return math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // out_features


def _dot(equation: JaxprEqn) -> int:
    left, right = (variable.aval.shape for variable in equation.invars)
    (_, contracted), (_, batch) = equation.params["dimension_numbers"]
    free = [size for axis, size in enumerate(right) if axis not in contracted and axis not in batch]
    return math.prod(left) * math.prod(free)


COUNTS = {"conv_general_dilated": _convolution, "dot_general": _dot}
