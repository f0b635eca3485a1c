"""Two steps of gradient descent with momentum, as references and models of sequences are compared by."""

from collections.abc import Callable
from typing import Any

import optax

RATE, MOMENTUM, STEPS = 0.1, 0.9, 2


def descended(gradient: Callable[[Any], Any], params: Any) -> Any:
    """Returns what parameters are after the steps, from a function of them that gives their gradient."""
    optimizer = optax.sgd(RATE, MOMENTUM)
    state = optimizer.init(params)
    for _ in range(STEPS):
        updates, state = optimizer.update(gradient(params), state)
        params = optax.apply_updates(params, updates)
    return params
