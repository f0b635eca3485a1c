"""Vision Transformers: torchvision's, timm's, and our own for SimpleViT."""

from collections import OrderedDict
from functools import partial

import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from torch import nn
from torchvision.models import VisionTransformer

from tests.reference.torch_families.reference import Reference

DEPTH = 2  # of the networks that are compared


def torchvision_network(
    patch_size: int, full_depth: int, num_heads: int, dim: int, *, depth: int = 0, image_size: int = 224, **options
) -> VisionTransformer:
    """A ViT of torchvision, with an identity in front of its head, where the pooled features are found."""
    network = VisionTransformer(image_size, patch_size, depth or full_depth, num_heads, dim, 4 * dim, **options)
    network.heads = nn.Sequential(OrderedDict(pooled=nn.Identity(), head=network.heads.head))
    return network


def torchvision_model(*shape: int, **options) -> Reference:
    """A ViT of torchvision."""
    stages = tuple(f"encoder.layers.encoder_layer_{i}" for i in range(DEPTH))
    return Reference(partial(torchvision_network, *shape, **options), stages, "heads.pooled")


def timm_network(name: str, *, image_size: int = 224, **options) -> nn.Module:
    """A ViT of timm; of one with two heads the mean of what they see goes through an identity."""
    network = timm.create_model(name, img_size=image_size, **options)
    network.pooled = nn.Identity()
    if isinstance(network, VisionTransformerDistilled):

        def pool(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            network.pooled(output[:, :2].mean(1))

        network.norm.register_forward_hook(pool)
    else:
        network.head_drop = network.pooled
    return network


def timm_model(name: str, **options) -> Reference:
    """A ViT of timm."""
    stages = tuple(f"blocks.{i}" for i in range(DEPTH))
    return Reference(partial(timm_network, name, **options), stages, "pooled")


class Attention(nn.Module):
    """Attention in heads, one after the other."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layer."""
        parts = [part.chunk(self.num_heads, -1) for part in self.qkv(x).chunk(3, -1)]
        heads = [
            (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1) @ value
            for query, key, value in zip(*parts, strict=True)
        ]
        return self.proj(torch.cat(heads, -1))


class Block(nn.Module):
    """A block of the encoder, with timm's names."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn = Attention(dim, num_heads)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the block."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SimpleViT(nn.Module):
    """The network of https://arxiv.org/abs/2205.01580, section 2, with timm's names."""

    def __init__(
        self, dim: int, num_heads: int, depth: int = 12, patch_size: int = 16, num_classes: int = 1000, image_size=None
    ):
        super().__init__()
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, dim, patch_size, patch_size)))
        self.blocks = nn.Sequential(*[Block(dim, num_heads) for _ in range(depth)])
        self.norm, self.pooled = nn.LayerNorm(dim, 1e-6), nn.Identity()
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # [B, C, H, W]
        """Returns the logits."""
        patches = self.patch_embed(images)  # [B, D, h, w]
        x = (patches + self.positions(*patches.shape[1:]).to(patches)).flatten(2).mT
        return self.head(self.pooled(self.norm(self.blocks(x)).mean(1)))

    @staticmethod
    def positions(dim: int, height: int, width: int) -> torch.Tensor:  # -> [D, h, w]
        """Four quarters: sine and cosine of the column, of the row; frequencies from 1 to 1/10000, geometrically."""
        frequencies = torch.logspace(0, -4, dim // 4, dtype=torch.float64)
        rows, columns = (torch.outer(frequencies, torch.arange(size).double()) for size in (height, width))
        waves = [wave(columns)[:, None].expand(-1, height, -1) for wave in (torch.sin, torch.cos)]
        waves += [wave(rows)[..., None].expand(-1, -1, width) for wave in (torch.sin, torch.cos)]
        return torch.cat(waves)


def simple_model(dim: int, num_heads: int, **options) -> Reference:
    """Our own."""
    return Reference(
        partial(SimpleViT, dim, num_heads, **options), tuple(f"blocks.{i}" for i in range(DEPTH)), "pooled"
    )


TIMM = (
    "vit_tiny_patch16_224", "vit_small_patch16_224", "deit_tiny_patch16_224", "deit_small_patch16_224",
    "deit_base_patch16_224", "deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224",
    "deit_base_distilled_patch16_224",
)  # fmt: skip
INFERENCE = {
    "vit_b_16": torchvision_model(16, 12, 12, 768),
    "vit_b_32": torchvision_model(32, 12, 12, 768),
    "vit_l_16": torchvision_model(16, 24, 16, 1024),
    "vit_l_32": torchvision_model(32, 24, 16, 1024),
    "vit_h_14": torchvision_model(14, 32, 16, 1280),
    **{name: timm_model(name) for name in TIMM},
    "vit_tiny_patch4_32": timm_model("vit_tiny_patch16_224", patch_size=4, image_size=32, num_classes=10),
    "simple_vit_s_16": simple_model(384, 6),
    "simple_vit_b_16": simple_model(768, 12),
}

SMALL = {"patch_size": 8, "embed_dim": 24, "num_heads": 3, "depth": DEPTH, "image_size": 24}
SHORT = {
    "vit": torchvision_model(8, DEPTH, 3, 24, image_size=24),
    "vit_distilled": timm_model("deit_tiny_distilled_patch16_224", **SMALL),
    "simple_vit": simple_model(24, 3, depth=DEPTH, patch_size=8),
}
