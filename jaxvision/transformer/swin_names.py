"""What the layers of a Swin Transformer are called in the files of torchvision, timm and transformers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxvision.transformer.swin_attention import relative_offsets, relative_position_index
from jaxvision.weights.names import Line

CONSTANTS = "relative_position_index", "relative_coords_table"


def torchvision(window: int, version: int) -> dict[str, Any]:
    """Returns the lines for torchvision's files, which hold the index and the offsets too."""
    attention = "features.{2*i-1}.{j-1}.attn"
    constants = {f"{attention}.relative_position_index": relative_position_index(window).ravel().astype(np.int64)}
    if version == 2:
        shape = 1, 2 * window - 1, 2 * window - 1, 2
        constants[f"{attention}.relative_coords_table"] = relative_offsets(window).reshape(shape)
    return {
        "patch_embedding": "features.0.0",
        "patch_norm": "features.0.2",
        "stage{i}_merging/{layer}": "features.{2*i-2}.{layer}",
        "stage{i}_block{j}/norm{k}": "features.{2*i-1}.{j-1}.norm{k}",
        "stage{i}_block{j}/mlp/linear{k}": "features.{2*i-1}.{j-1}.mlp.{3*k-3}",
        "stage{i}_block{j}/attention/qkv": f"{attention}.qkv",
        **_of_attention(attention, constants),
        "norm": "norm",
        "head": "head",
    }


def timm(version: int) -> dict[str, Any]:
    """Returns the lines for timm's files."""
    attention, qkv = "layers.{i-1}.blocks.{j-1}.attn", "stage{i}_block{j}/attention/qkv"
    without_keys = Line((f"{attention}.q_bias", f"{attention}.v_bias"), transform="without_bias_of_keys")
    return {
        "patch_embedding": "patch_embed.proj",
        "patch_norm": "patch_embed.norm",
        "stage{i}_merging/{layer}": "layers.{i-1}.downsample.{layer}",
        "stage{i}_block{j}/norm{k}": "layers.{i-1}.blocks.{j-1}.norm{k}",
        "stage{i}_block{j}/mlp/linear{k}": "layers.{i-1}.blocks.{j-1}.mlp.fc{k}",
        f"{qkv}/kernel": f"{attention}.qkv.weight",
        f"{qkv}/bias": without_keys if version == 2 else f"{attention}.qkv.bias",
        **_of_attention(attention),
        "norm": "norm",
        "head": "head.fc",
    }


def transformers(depths: tuple[int, ...], version: int) -> dict[str, Any]:
    """Returns the lines for the files of transformers' SwinForImageClassification and Swinv2ForImageClassification.

    Those of its early versions hold the index and the offsets too.
    """
    prefix = "swin" if version == 1 else "swinv2"
    block, qkv = f"{prefix}.encoder.layers.{{i-1}}.blocks.{{j-1}}", "stage{i}_block{j}/attention/qkv"
    query, key, value = (f"{block}.attention.self.{part}" for part in ("query", "key", "value"))
    without_keys = Line((f"{query}.bias", f"{value}.bias"), transform="without_bias_of_keys")
    biases = {f"{qkv}/bias": without_keys if version == 2 else (f"{query}.bias", f"{key}.bias", f"{value}.bias")}
    positions = f"{block}.attention.self.continuous_position_bias_mlp"
    return {
        "patch_embedding": f"{prefix}.embeddings.patch_embeddings.projection",
        "patch_norm": f"{prefix}.embeddings.norm",
        "stage{i}_merging/{layer}": f"{prefix}.encoder.layers.{{i-2}}.downsample.{{layer}}",
        "stage{i}_block{j}/norm1": f"{block}.layernorm_before",
        "stage{i}_block{j}/norm2": f"{block}.layernorm_after",
        "stage{i}_block{j}/mlp/linear1": f"{block}.intermediate.dense",
        "stage{i}_block{j}/mlp/linear2": f"{block}.output.dense",
        f"{qkv}/kernel": (f"{query}.weight", f"{key}.weight", f"{value}.weight"),
        **biases,
        "stage{i}_block{j}/attention/projection": f"{block}.attention.output.dense",
        "stage{i}_block{j}/attention/position_table": f"{block}.attention.self.relative_position_bias_table",
        "stage{i}_block{j}/attention/position_linear{k}": f"{positions}.{{2*k-2}}",
        "stage{i}_block{j}/attention/log_scale": Line(f"{block}.attention.self.logit_scale", transform="vector_as_map"),
        "norm": f"{prefix}.layernorm",
        "head": "classifier",
        **{
            f"constants{i}_{j}": Line("", optional=tuple(f"{of_block}.{name}" for name in CONSTANTS))
            for i, depth in enumerate(depths)
            for j in range(depth)
            for of_block in [f"{prefix}.encoder.layers.{i}.blocks.{j}.attention.self"]
        },
    }


def _of_attention(foreign: str, constants: Mapping[str, np.ndarray] = MappingProxyType({})) -> dict[str, Any]:
    ours = "stage{i}_block{j}/attention"
    return {
        f"{ours}/projection": f"{foreign}.proj",
        f"{ours}/position_table": Line(f"{foreign}.relative_position_bias_table", constants=constants),
        f"{ours}/position_linear{{k}}": f"{foreign}.cpb_mlp.{{2*k-2}}",
        f"{ours}/log_scale": Line(f"{foreign}.logit_scale", transform="vector_as_map", constants=constants),
    }
