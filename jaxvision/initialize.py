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
    # Runs once: on a CPU, compiling without optimization is what makes it quick (LeNet-5 0.9 s in place of 2.7 s).
    # Inside another `jit` it is that one which compiles.
    alone = not isinstance(jax.random.key_data(key), jax.core.Tracer)
    options = {"xla_backend_optimization_level": 0} if alone and jax.default_backend() == "cpu" else None
    draw = jax.jit(lambda key: model.init(key, zeros_like_example(model), train=False), compiler_options=options)
    return draw(key)


def abstract_variables(model: nn.Module) -> dict[str, Any]:
    """Returns the shapes and types of a model's variables, without computing any."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), zeros_like_example(model), train=False))


def zeros_like_example(model: nn.Module) -> Any:
    """Returns zeros of the shapes that the model is usually given."""
    return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), model.example_input())
