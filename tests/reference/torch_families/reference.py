"""A reference implementation, and where its outputs are found."""

import dataclasses
from collections.abc import Callable

from torch import nn


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference implementation.

    Attributes:
        build: makes the network, with as many classes as published or with `num_classes`.
        stages: names of the modules whose outputs are the stages of our `features`.
        pooled: name of the module whose output is what our `num_classes=0` gives, but for axes of length one.
        channels_last: whether those outputs of stages have the channels last.
        auxiliary_weight: of the losses of the logits that the network returns after the first in training.
    """

    build: Callable[..., nn.Module]
    stages: tuple[str, ...]
    pooled: str
    channels_last: bool = False
    auxiliary_weight: float = 0.0
