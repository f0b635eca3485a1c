"""Residual and plain networks that no PyTorch library holds, written from their papers in PyTorch.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)


class ZeroPadding(nn.Module):
    """Option A of "Deep residual learning", section 3.3: subsampling, and as many zero channels before as after."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.subsample = nn.MaxPool2d(1, stride)
        self.added = (channels_out - channels_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads the channels."""
        x = self.subsample(x)
        zeros = x.new_zeros(x.shape[0], self.added, *x.shape[2:])
        return torch.cat([zeros, x, zeros], 1)


class NoShortcut(nn.Module):
    """A plain network adds nothing."""

    def forward(self, x: torch.Tensor) -> float:
        """Returns the zero that is added."""
        return 0.0


def zero_padding(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """The shortcut of the CIFAR-10 networks."""
    return nn.Identity() if channels_in == channels_out else ZeroPadding(channels_in, channels_out, stride)


def no_shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """The shortcut of the plain networks."""
    return NoShortcut()


class Block(nn.Module):
    """conv, norm, ReLU, conv, norm, sum, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, shortcut: Callable[..., nn.Module]):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels_in, channels_out, stride), nn.BatchNorm2d(channels_out)
        self.conv2, self.bn2 = conv3x3(channels_out, channels_out), nn.BatchNorm2d(channels_out)
        self.shortcut = shortcut(channels_in, channels_out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the block."""
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (self.shortcut(x) + residual).relu()


class PreactivationBlock(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv, sum ("Identity mappings", figure 1b)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, shortcut: Callable[..., nn.Module]):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels_in), conv3x3(channels_in, channels_out, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(channels_out), conv3x3(channels_out, channels_out)
        self.shortcut = shortcut(channels_in, channels_out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the block."""
        residual = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return self.shortcut(x) + residual


def stage(block: Callable, depth: int, channels_in: int, channels_out: int, stride: int, shortcut) -> nn.Sequential:
    """Blocks of one resolution, the first of which reduces it."""
    first = block(channels_in, channels_out, stride, shortcut)
    return nn.Sequential(first, *[block(channels_out, channels_out, 1, shortcut) for _ in range(depth - 1)])


def cifar_network(depth: int, shortcut: Callable[..., nn.Module] = zero_padding, num_classes: int = 10) -> nn.Module:
    """The networks of 6 `depth` + 2 layers of section 4.2, named as in akamaster/pytorch_resnet_cifar10."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv3x3(3, 16),
            bn1=nn.BatchNorm2d(16),
            relu=nn.ReLU(),
            layer1=stage(Block, depth, 16, 16, 1, shortcut),
            layer2=stage(Block, depth, 16, 32, 2, shortcut),
            layer3=stage(Block, depth, 32, 64, 2, shortcut),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            linear=nn.Linear(64, num_classes),
        )
    )


def plain_network(depths: Sequence[int], num_classes: int = 1000) -> nn.Module:
    """The plain ImageNet networks (table 1 without its shortcuts), named as torchvision's ResNet."""
    widths = (64, 64, 128, 256, 512)
    stages = {
        f"layer{i}": stage(Block, depth, widths[i - 1], widths[i], 1 if i == 1 else 2, no_shortcut)
        for i, depth in enumerate(depths, 1)
    }
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            bn1=nn.BatchNorm2d(64),
            relu=nn.ReLU(),
            maxpool=nn.MaxPool2d(3, 2, 1),
            **stages,
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            fc=nn.Linear(512, num_classes),
        )
    )


class PreactivationStage(nn.Module):
    """A stage whose blocks are called `blocks`, as timm names them."""

    def __init__(self, *arguments):
        super().__init__()
        self.blocks = stage(PreactivationBlock, *arguments)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the blocks."""
        return self.blocks(x)


def cifar_preactivation_network(depth: int, num_classes: int = 10) -> nn.Module:
    """The CIFAR-10 networks of "Identity mappings", named as timm's `resnetv2_*`, with the head a 1x1 convolution."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(OrderedDict(conv=conv3x3(3, 16))),
            stages=nn.Sequential(
                PreactivationStage(depth, 16, 16, 1, zero_padding),
                PreactivationStage(depth, 16, 32, 2, zero_padding),
                PreactivationStage(depth, 32, 64, 2, zero_padding),
            ),
            norm=nn.BatchNorm2d(64),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            head=nn.Sequential(OrderedDict(fc=nn.Conv2d(64, num_classes, 1), flatten=nn.Flatten())),
        )
    )
