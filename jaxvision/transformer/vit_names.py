"""What the layers of a Vision Transformer are called in the files of torchvision, timm and transformers."""

from typing import Any

from jaxvision.weights.names import Line

TORCHVISION = {
    "class_token": Line("class_token", transform="vector_as_token"),
    "positions": "encoder.pos_embedding",
    "patch_embedding": "conv_proj",
    "block{i}/norm{k}": "encoder.layers.encoder_layer_{i-1}.ln_{k}",
    "block{i}/attention/qkv": "encoder.layers.encoder_layer_{i-1}.self_attention.in_proj_{leaf}",
    "block{i}/attention/projection": "encoder.layers.encoder_layer_{i-1}.self_attention.out_proj",
    "block{i}/mlp/linear{k}": "encoder.layers.encoder_layer_{i-1}.mlp.{3*k-3}",
    "norm": "encoder.ln",
    "head": "heads.head",
}

TORCHVISION_OLD = TORCHVISION | {  # as in the published files
    "block{i}/mlp/linear{k}": "encoder.layers.encoder_layer_{i-1}.mlp.linear_{k}",
}

TIMM = {
    "class_token": Line("cls_token", transform="vector_as_token"),
    "positions": "pos_embed",
    "patch_embedding": "patch_embed.proj",
    "block{i}/norm{k}": "blocks.{i-1}.norm{k}",
    "block{i}/attention/qkv": "blocks.{i-1}.attn.qkv",
    "block{i}/attention/projection": "blocks.{i-1}.attn.proj",
    "block{i}/mlp/linear{k}": "blocks.{i-1}.mlp.fc{k}",
    "norm": "norm",
    "head": "head",
}

TIMM_DISTILLED = TIMM | {
    "distillation_token": Line("dist_token", transform="vector_as_token"),
    "head": ("head", "head_dist"),
}


def _transformers(prefix: str) -> dict[str, Any]:
    block = f"{prefix}.encoder.layer.{{i-1}}"
    projections = tuple(f"{block}.attention.attention.{part}" for part in ("query", "key", "value"))
    return {
        "class_token": Line(f"{prefix}.embeddings.cls_token", transform="vector_as_token"),
        "positions": f"{prefix}.embeddings.position_embeddings",
        "patch_embedding": f"{prefix}.embeddings.patch_embeddings.projection",
        "block{i}/norm1": f"{block}.layernorm_before",
        "block{i}/norm2": f"{block}.layernorm_after",
        "block{i}/attention/qkv": projections,
        "block{i}/attention/projection": f"{block}.attention.output.dense",
        "block{i}/mlp/linear1": f"{block}.intermediate.dense",
        "block{i}/mlp/linear2": f"{block}.output.dense",
        "norm": f"{prefix}.layernorm",
        "head": "classifier",
    }


TRANSFORMERS = _transformers("vit")

TRANSFORMERS_DISTILLED = _transformers("deit") | {
    "distillation_token": Line("deit.embeddings.distillation_token", transform="vector_as_token"),
    "head": ("cls_classifier", "distillation_classifier"),
}
