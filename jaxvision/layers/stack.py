"""Blocks that are the steps of one loop: their parameters, stacked, have the axis of the blocks first."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def stacked(trees: Sequence[Any]) -> Any:
    """Returns one tree of several of one structure, their leaves stacked."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def stack_of(params: Mapping[str, Any], name: str, blocks: Sequence[str]) -> Any:
    """Returns the stack that parameters hold under a name, or makes it from those of the blocks."""
    return params[name] if name in params else stacked([params[block] for block in blocks])


def block_names(depth: int) -> list[str]:
    """Returns the names of as many blocks."""
    return [f"block{i}" for i in range(1, depth + 1)]


def check_not_stacked(module: nn.Module, name: str) -> None:
    """Checks that the parameters of blocks that are applied one by one are not held as a stack of that name.

    Raises:
        ValueError: they are.
    """
    if name in module.variables.get("params", ()):
        raise ValueError(
            f"{type(module).__name__} applies its blocks one by one here, but their parameters are stacked: "
            "jaxvision.unstack_blocks(model, variables) gives those of each block"
        )
