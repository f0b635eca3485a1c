"""What the layers of sequence Transformers are called in the files of PyTorch and transformers."""

from typing import Any

import numpy as np

from jaxvision.weights.names import Line

TORCH = {
    "embed/embedding": "embed.weight",
    "{part}_embed/embedding": "{part}_embed.weight",
    "{part}_positions": "{part}_positions",
    "logits_bias": "logits_bias",
    "{part}/block{i}/attention/qkv": "transformer.{part}.layers.{i-1}.self_attn.in_proj_{leaf}",
    "{part}/block{i}/attention/projection": "transformer.{part}.layers.{i-1}.self_attn.out_proj",
    "decoder/block{i}/cross_attention/qkv": "transformer.decoder.layers.{i-1}.multihead_attn.in_proj_{leaf}",
    "decoder/block{i}/cross_attention/projection": "transformer.decoder.layers.{i-1}.multihead_attn.out_proj",
    "{part}/block{i}/mlp/linear{k}": "transformer.{part}.layers.{i-1}.linear{k}",
    "{part}/block{i}/norm{k}": "transformer.{part}.layers.{i-1}.norm{k}",
    "{part}/norm": "transformer.{part}.norm",
}
TORCH_WITH_HEAD = TORCH | {"head": "head"}


def marian(shared: str, positions: np.ndarray) -> dict[str, Any]:
    """Returns the names in a MarianMTModel, which holds tables that are shared, and positions, several times."""
    block = "model.{part}.layers.{i-1}"
    heads = lambda name: tuple(f"{name}.{part}_proj" for part in ("q", "k", "v"))
    source, target = (f"model.{part}.embed_tokens.weight" for part in ("encoder", "decoder"))
    positions = positions.astype(np.float32)
    constants = {f"model.{part}.embed_positions.weight": positions for part in ("encoder", "decoder")}
    tables = {
        "all": {"embed/embedding": Line("model.shared.weight", copies=(source, target, "lm_head.weight"))},
        "target": {
            "source_embed/embedding": source,
            "target_embed/embedding": Line(target, copies=("lm_head.weight",)),
        },
        "none": {"source_embed/embedding": source, "target_embed/embedding": target, "head": "lm_head"},
    }
    return tables[shared] | {
        "logits_bias": Line("final_logits_bias", transform="vector_as_row", constants=constants),
        "{part}/block{i}/attention/qkv": heads(f"{block}.self_attn"),
        "{part}/block{i}/attention/projection": f"{block}.self_attn.out_proj",
        "decoder/block{i}/cross_attention/qkv": heads("model.decoder.layers.{i-1}.encoder_attn"),
        "decoder/block{i}/cross_attention/projection": "model.decoder.layers.{i-1}.encoder_attn.out_proj",
        "{part}/block{i}/mlp/linear{k}": f"{block}.fc{{k}}",
        "{part}/block{i}/norm1": f"{block}.self_attn_layer_norm",
        "encoder/block{i}/norm2": "model.encoder.layers.{i-1}.final_layer_norm",
        "decoder/block{i}/norm2": "model.decoder.layers.{i-1}.encoder_attn_layer_norm",
        "decoder/block{i}/norm3": "model.decoder.layers.{i-1}.final_layer_norm",
    }
