"""Variables whose blocks are stacked, and back: what a training step compiles then does not grow with the depth.

A model of `scan=True` takes either form. With the parameters of each block by itself, which files always hold, it
stacks them whenever it is applied; gradients and the optimizer still have as many arrays as there are layers. Stacked
once, the whole step has those of one block.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxvision.layers.stack import stacked

Params = dict[str, Any]


def stack_blocks(model: nn.Module, variables: dict[str, Any]) -> dict[str, Any]:
    """Stacks the parameters of the blocks that a model runs as one loop.

    Writing token after token, maps of attention and files need `unstack_blocks` first. An optimizer sees one array of
    one more axis where there were several: masks that count axes then mark biases too, and what is drawn from a whole
    array, such as a trust ratio, is that of all blocks.

    Args:
        model: of `scan=True`.
        variables: its variables; also a tree of arrays of the same names, such as a mean of parameters.

    Returns:
        Variables with `blocks` of [depth, ...] in place of `block1`, `block2`, ...

    Raises:
        ValueError: the model has no such loop, or the variables are not those of its blocks.
    """

    def change(layers: Params, stack: str, blocks: Sequence[str]) -> Params:
        _check(layers, blocks)
        rest = {name: layer for name, layer in layers.items() if name not in blocks}
        return rest | {stack: stacked([layers[block] for block in blocks])}

    return _changed(model, variables, change)


def unstack_blocks(model: nn.Module, variables: dict[str, Any]) -> dict[str, Any]:
    """Gives each block its parameters again: the inverse of `stack_blocks`.

    Raises:
        ValueError: the model has no such loop, or the variables have no such stack.
    """

    def change(layers: Params, stack: str, blocks: Sequence[str]) -> Params:
        _check(layers, [stack])
        rest = {name: layer for name, layer in layers.items() if name != stack}
        pick = lambda i: jax.tree.map(lambda leaf: leaf[i], layers[stack])
        return rest | {block: pick(i) for i, block in enumerate(blocks)}

    return _changed(model, variables, change)


def _changed(model: nn.Module, variables: dict[str, Any], change: Callable[..., Params]) -> dict[str, Any]:
    stacks = model.stacks() if hasattr(model, "stacks") else {}
    if not stacks:
        raise ValueError(f"{type(model).__name__} runs no blocks as one loop: that is for Transformers of scan=True")
    params = variables["params"]
    for path, blocks in stacks.items():
        *above, stack = path.split("/")
        params = _at(params, above, lambda layers, stack=stack, blocks=blocks: change(layers, stack, blocks))
    return {**variables, "params": params}


def _at(params: Params, above: Sequence[str], change: Callable[[Params], Params]) -> Params:
    if not above:
        return change(params)
    _check(params, above[:1])
    return {**params, above[0]: _at(params[above[0]], above[1:], change)}


def _check(layers: Params, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in layers]:
        raise ValueError(
            f"the variables have no {', '.join(missing)}; where they should be, there are {', '.join(layers)}"
        )
