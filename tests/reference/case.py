"""A network that is compared with a reference implementation, and on what input."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

NUM_CLASSES = 10
LEARNING_RATE = 0.02  # of the optimizer steps: SGD with Nesterov's momentum 0.9
WEIGHT_DECAY = 0.01


def to_run_once(function: Callable) -> Callable:
    """Compiles a function without optimization: several times as quick to the result as an operation at a time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@dataclasses.dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        layout: whose key names the reference implementation has.
        image: [C, H, W] of the images.
        damped: pattern of the weights that close a residual branch, see `random_weights`.
        fields: of both networks, to make layers narrow whose bulk would cost time and prove nothing.
    """

    layout: str
    image: tuple[int, int, int]
    damped: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A network as small as it comes, to be trained on one device and on eight.

    Attributes:
        build: our constructor.
        size: height and width of its images, which have 3 channels.
    """

    build: Callable[..., nn.Module]
    size: int = 8


@dataclasses.dataclass(frozen=True)
class Family:
    """The networks of one family.

    Attributes:
        title: of the family, in the README.
        inference: every registered model of the family.
        short: one short network for each kind of block, whose gradients and optimizer steps are compared.
        networks: our constructor of each of them.
        tiny: networks of the same parts that are trained on one device and on eight.
        stands_for: from the name of a registered model, the one of `short` and the one of `tiny` that prove it.
        whole: registered models whose gradients are compared in the slow set.
        counts: parameters as published, by model, where that is known from elsewhere than the reference.
    """

    title: str
    inference: Mapping[str, Case]
    short: Mapping[str, Case]
    networks: Mapping[str, Callable[..., nn.Module]]
    tiny: Mapping[str, Tiny]
    stands_for: Callable[[str], tuple[str, str]]
    whole: tuple[str, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
