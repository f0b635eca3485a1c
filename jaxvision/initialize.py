"""Initial variables of a model."""

from typing import Any

import flax.linen as nn
import jax


def init(model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Draws the initial variables of a model.

    Args:
        model: a module with an `example_input` method, as `create_model` gives it.
        key: from `jax.random.key`.

    Returns:
        The variables by collection: `{"params": ..., "batch_stats": ...}`, float32.
    """
    return jax.jit(lambda key: model.init(key, zeros_like_example(model), train=False))(key)


def abstract_variables(model: nn.Module) -> dict[str, Any]:
    """Returns the shapes and types of a model's variables, without computing any."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), zeros_like_example(model), train=False))


def zeros_like_example(model: nn.Module) -> Any:
    """Returns zeros of the shapes that the model is usually given."""
    return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), model.example_input())
