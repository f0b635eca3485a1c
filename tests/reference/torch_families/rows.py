"""An LSTM over the rows of an image, in PyTorch."""

from collections import OrderedDict

import torch
from torch import nn

from tests.reference.torch_families.reference import Reference


class Rows(nn.LSTM):
    """Two layers of 128 units that take the rows of images of three colours and 32 columns."""

    def __init__(self):
        super().__init__(3 * 32, 128, num_layers=2, batch_first=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, D, H, 1]
        outputs, _ = super().forward(image.permute(0, 2, 1, 3).flatten(2))
        return outputs.transpose(1, 2)[..., None]


class Last(nn.Module):
    """The output after the last row."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:  # [B, D, H, 1] -> [B, D]
        return outputs[:, :, -1, 0]


def lstm_rows(num_classes: int = 10) -> nn.Sequential:
    """The rows, the last output, and one linear layer."""
    return nn.Sequential(OrderedDict(lstm=Rows(), last=Last(), output=nn.Linear(128, num_classes)))


INFERENCE = {"lstm_rows": Reference(lstm_rows, ("lstm",), "last")}
SHORT = INFERENCE
