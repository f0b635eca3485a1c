"""State dicts from PyTorch's files, without PyTorch."""

from typing import Any

from jaxvision.weights.errors import WeightsError


def read_torch(data: bytes) -> dict[str, Any]:
    """Returns the state dict in the bytes of a .pth file."""
    raise WeightsError("reading PyTorch's files is not implemented yet")
