"""The first convolution of a model, to look at.

Shapes: B batch, H height, W width, C channels, F filters.
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np


class _ReachedError(Exception):
    """Ends the model where there is nothing more to see."""


def first_convolution(
    model: nn.Module, variables: dict[str, Any], image: jax.Array
) -> tuple[np.ndarray, np.ndarray] | None:
    """Runs a model up to its first two-dimensional convolution.

    Args:
        model: a module.
        variables: of the model.
        image: [1, H, W, C], as preprocessing gives it.

    Returns:
        The kernel [kh, kw, C, F] and the feature maps [H', W', F] it gives; None where the model has no convolution.
    """
    found = {}

    def stop_at_convolution(method, args, kwargs, context):
        output = method(*args, **kwargs)
        if isinstance(context.module, nn.Conv) and len(context.module.kernel_size) == 2:
            found["kernel"], found["maps"] = context.module.variables["params"]["kernel"], output[0]
            raise _ReachedError
        return output

    try:
        with nn.intercept_methods(stop_at_convolution):
            model.apply(variables, image, train=False)
    except _ReachedError:
        return tuple(np.asarray(found[name], np.float32) for name in ("kernel", "maps"))
    return None
