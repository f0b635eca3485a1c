"""The work that models are timed at: outputs, and steps of training; ours and PyTorch's, the same.

A training step is a forward pass, a backward pass of the mean cross-entropy, and a step of SGD with momentum.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.timing import Run, medians
from train.shared.state import create_state
from train.shared.step import make_train_step

LEARNING_RATE, MOMENTUM = 1e-3, 0.9


def compiled(function: Callable, *arguments: Any) -> Run:
    """Returns a run of a function of arrays."""
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


def training(logits_of: Callable, variables: Any, given: Any, labels: jax.Array) -> Run:
    """Returns a run of steps, one after the other.

    Args:
        logits_of: of variables and what is given; returns logits [..., K] and the collections that it updates.
        variables: before the first step.
        given: what the model is given.
        labels: int [...].
    """

    def loss_fn(params, model_state, batch, rng, step):
        del rng, step
        given, labels = batch
        logits, model_state = logits_of({"params": params, **model_state}, given)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {})

    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    state = create_state(variables, optimizer, jax.random.key(0))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, (given, labels))
        jax.block_until_ready((state, metrics))

    return run


def of_torch(model, work: str, given: dict[str, Any], labels, compiles: bool) -> Run:
    """Returns a run of "infer" or "train" of a module that returns what has `logits`."""
    import torch

    model.train(work == "train")
    forward = torch.compile(model) if compiles else model
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def infer() -> None:
        with torch.inference_mode():
            forward(**given)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = forward(**given).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()).backward()
        optimizer.step()

    return {"infer": infer, "train": train}[work]


def compare(runs: dict[str, Run], seconds: float, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Times contenders, ours being "jaxvision".

    Returns:
        How many per second each does where a run does so many, and a "ratio" of our speed to the best of the others,
        where there is one.
    """
    speeds = {name: float(f"{count / median:.4g}") for name, median in medians(runs, seconds).items()}
    others = [speed for name, speed in speeds.items() if name != "jaxvision"]
    return speeds, {"ratio": round(speeds["jaxvision"] / max(others), 2)} if others else {}
