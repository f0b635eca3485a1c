"""GoogLeNet: torchvision's, and that of the paper in PyTorch.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from functools import partial

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.googlenet import Inception

from tests.reference.torch_families.reference import Reference

STAGES = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")


def torchvision_network(num_classes: int = 1000, **options) -> nn.Module:
    """GoogLeNet of torchvision, initialised quickly."""
    return torchvision.models.googlenet(num_classes=num_classes, init_weights=False, **options)


def shortened(num_classes: int = 1000) -> nn.Module:
    """Torchvision's with the blocks 3a, 4a, 4d and 5a alone, without dropout."""
    network = torchvision_network(num_classes, dropout=0.0, dropout_aux=0.0)
    for name in ("3b", "4b", "4c", "4e", "5b"):
        setattr(network, f"inception{name}", nn.Identity())
    network.inception4a = Inception(256, 192, 96, 208, 16, 48, 64)
    network.inception5a = Inception(528, 256, 160, 320, 32, 128, 128)
    network.fc = nn.Linear(832, num_classes)
    return network


def conv(channels: int, features: int, kernel_size: int = 1, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the image, but for its stride."""
    return nn.Conv2d(channels, features, kernel_size, stride, kernel_size // 2)


class Block(nn.Module):
    """Figure 2b."""

    def __init__(self, channels: int, one: int, before3: int, three: int, before5: int, five: int, pooled: int):
        super().__init__()
        self.branch1 = conv(channels, one)
        self.branch2 = nn.ModuleList([conv(channels, before3), conv(before3, three, 3)])
        self.branch3 = nn.ModuleList([conv(channels, before5), conv(before5, five, 5)])
        self.branch4 = nn.ModuleList([nn.MaxPool2d(3, 1, 1), conv(channels, pooled)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, C', H, W]
        """Applies the block: a ReLU after each convolution, of which the one after pooling changes nothing."""
        branches = [self.branch1(x).relu()]
        for first, second in (self.branch2, self.branch3, self.branch4):
            y = first(x)
            branches.append(second(y if isinstance(first, nn.MaxPool2d) else y.relu()).relu())
        return torch.cat(branches, 1)


class Head(nn.Module):
    """An auxiliary classifier (section 5), for maps of 14x14, and for others in proportion."""

    def __init__(self, channels: int, num_classes: int, dropout: float):
        super().__init__()
        self.conv = conv(channels, 128)
        self.fc1, self.fc2 = nn.Linear(4 * 4 * 128, 1024), nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, C, H, W] -> [B, K]
        """Returns the logits."""
        x = self.conv(scaled_average(x, 4, 5, 3)).relu()
        return self.fc2(self.dropout(self.fc1(x.flatten(1)).relu()))


def scaled_average(x: torch.Tensor, size: int, window: int, stride: int) -> torch.Tensor:
    """Average pooling by windows that lie in any map in the proportions in which they fill one of their own."""
    whole = (size - 1) * stride + window
    if x.shape[2:] == (whole, whole):
        return functional.avg_pool2d(x, window, stride)
    rows, columns = (window_means(length, size, window, stride).to(x) for length in x.shape[2:])
    return torch.einsum("ih,bchw,jw->bcij", rows, x, columns)


def window_means(length: int, size: int, window: int, stride: int) -> torch.Tensor:  # -> [size, length]
    """The mean over each window, as a matrix: a pixel belongs to those whose ideal bounds it overlaps."""
    whole = (size - 1) * stride + window
    inside = torch.tensor(
        [
            [
                (p + 1) * whole > i * stride * length and p * whole < (i * stride + window) * length
                for p in range(length)
            ]
            for i in range(size)
        ]
    ).double()
    return inside / inside.sum(1, keepdim=True)


class GoogLeNet(nn.Module):
    """Table 1 and figure 3, named as torchvision names its own.

    Args:
        blocks: by name.
    """

    def __init__(self, blocks: dict[str, tuple[int, ...]], num_classes: int, dropout: float, dropout_aux: float):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(3, 64, 7, 2), conv(64, 64), conv(64, 192, 3)
        self.norm2 = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # PyTorch divides alpha by 5
        self.relu1, self.pool = nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)
        channels, self.blocks, heads = 192, tuple(blocks), {"4a": "aux1", "4d": "aux2"}
        for name, widths in blocks.items():
            self.add_module(f"inception{name}", Block(channels, *widths))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
            if name in heads:
                self.add_module(heads[name], Head(channels, num_classes, dropout_aux))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Returns the logits; in training those of the auxiliary heads too."""
        x = functional.local_response_norm(self.pool(self.relu1(self.conv1(x))), 5, 5e-4, 0.75, 2.0)
        x = self.norm2(self.conv3(self.conv2(x).relu()).relu())
        auxiliary, stage = [], "2"
        for name in self.blocks:
            x = self.pool(x) if name[0] != stage else x
            x, stage = self.get_submodule(f"inception{name}")(x), name[0]
            if name in ("4a", "4d") and self.training:
                auxiliary.append((self.aux1 if name == "4a" else self.aux2)(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return (logits, *auxiliary) if self.training else logits


TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def paper_network(num_classes: int = 1000, names=tuple(TABLE), dropout: float = 0.4, dropout_aux: float = 0.7):
    """GoogLeNet as in the paper."""
    return GoogLeNet({name: TABLE[name] for name in names}, num_classes, dropout, dropout_aux)


short_paper_network = partial(paper_network, names=("3a", "4a", "4d", "5a"), dropout=0.0, dropout_aux=0.0)
PAPER_STAGES = ("relu1", "norm2", *STAGES[2:])

INFERENCE = {
    "googlenet": Reference(torchvision_network, STAGES, "avgpool", auxiliary_weight=0.3),
    "googlenet_paper": Reference(paper_network, PAPER_STAGES, "avgpool", auxiliary_weight=0.3),
}

SHORT = {
    "inception": Reference(shortened, STAGES, "avgpool", auxiliary_weight=0.3),
    "inception_paper": Reference(short_paper_network, PAPER_STAGES, "avgpool", auxiliary_weight=0.3),
}
