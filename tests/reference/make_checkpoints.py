"""Writes the small files of PyTorch in `checkpoints/`, with the values that PyTorch reads from them.

python -m tests.reference.make_checkpoints
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "checkpoints"
FORMATS = {"zip": True, "legacy": False}


def tensors() -> OrderedDict:
    """One tensor of each kind that a state dict may hold."""
    base = torch.randn(4, 6)
    state = OrderedDict(
        float32=torch.randn(2, 3),
        float16=torch.randn(5).half(),
        bfloat16=torch.randn(2, 2).bfloat16(),
        float64=torch.randn(3).double(),
        int64=torch.tensor(2**40 + 7),
        int32=torch.tensor([-5, 7], dtype=torch.int32),
        int8=torch.tensor([-5, 7], dtype=torch.int8),
        uint8=torch.tensor([200, 7], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(0.5),
        empty=torch.zeros(0, 3),
        parameter=nn.Parameter(torch.randn(3)),
        whole=base,
        transposed=base.T,
        part=base[1:3, ::2],
    )
    state._metadata = {"": {"version": 1}}
    return state


def network() -> nn.Sequential:
    """A convolution, a normalisation whose statistics are not those it began with, and a linear layer."""
    layers = OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), pool=nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(OrderedDict(**layers, flatten=nn.Flatten(), fc=nn.Linear(4, 5)))
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model.eval()


def main() -> None:
    """Writes all files."""
    torch.manual_seed(0)
    state, model = tensors(), network()
    image = torch.randn(2, 3, 8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    model(image).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "best": torch.tensor(0.7),
        "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "notes": ["text", None, (1, 2.5, -(2**40), True)],
    }
    for name, zipped in FORMATS.items():
        torch.save(state, FOLDER / f"tensors_{name}.pth", _use_new_zipfile_serialization=zipped)
        torch.save(checkpoint, FOLDER / f"network_{name}.pth", _use_new_zipfile_serialization=zipped)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, FOLDER / "network.safetensors")
    half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file(half, FOLDER / "network_bfloat16.safetensors")
    values = {key: value.detach() for key, value in state.items()}
    values["bfloat16"] = values["bfloat16"].float()
    np.savez_compressed(FOLDER / "tensors.npz", **{key: value.numpy() for key, value in values.items()})
    np.savez_compressed(FOLDER / "network.npz", image=image.numpy(), logits=model(image).detach().numpy())


if __name__ == "__main__":
    main()
