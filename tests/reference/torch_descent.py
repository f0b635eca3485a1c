"""The steps of `descent.py`, taken by PyTorch."""

from collections.abc import Callable

import torch
from torch import nn

from tests.reference.descent import MOMENTUM, RATE, STEPS


def after_steps(network: nn.Module, loss: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Takes the steps from the parameters that a network has, and returns these by name."""
    optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return {f"{name} after the steps": value for name, value in network.named_parameters()}
