"""Computes with PyTorch, torchvision, timm and transformers what the parts of Transformers are compared with.

`python -m tests.reference.make_transformer` writes transformer.npz beside this file: attention and blocks in float64,
with gradients; positions resized in float32; rotary ones, and T5's groups of distances.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import timm
import torch
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.vit.modeling_vit import ViTEmbeddings

from tests.reference import transformer_cases as cases

FILE = Path(__file__).with_name("transformer.npz")
PADDING = torch.arange(cases.KEYS) >= torch.tensor(cases.LENGTHS)[:, None]  # True is hidden


def loaded(module: nn.Module) -> nn.Module:
    """Gives a module the random weights of its names."""
    shapes = {name: tuple(value.shape) for name, value in module.double().state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(w) for name, w in cases.weights(shapes).items()})
    return module


def with_gradients(case: str, module: nn.Module, run, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the output of a module, and the gradients of the sum of its squares."""
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    output = run(*tensors)
    output.square().sum().backward()
    found = {"output": output} | {f"gradient of input {n}": tensor.grad for n, tensor in enumerate(tensors)}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
    return {f"{case}: {name}": tensor.detach().numpy() for name, tensor in found.items()}


def attention(case: str) -> dict[str, np.ndarray]:
    """Returns what `torch.nn.MultiheadAttention` gives."""
    module = loaded(nn.MultiheadAttention(cases.DIM, cases.HEADS, batch_first=True))
    x, context = (
        cases.array(name, cases.BATCH, length, cases.DIM) for name, length in (("x", cases.QUERIES), ("y", cases.KEYS))
    )
    if case == "cross":
        run = lambda x, y: module(x, y, y, key_padding_mask=PADDING)[0]
        return with_gradients(case, module, run, x, context)
    mask = nn.Transformer.generate_square_subsequent_mask(cases.KEYS).isinf() if "causal" in case else None
    run = lambda y: module(y, y, y, attn_mask=mask, key_padding_mask=PADDING)[0]
    return with_gradients(case, module, run, context)


def encoder(case: str) -> dict[str, np.ndarray]:
    """Returns what `torch.nn.TransformerEncoderLayer` gives."""
    options = {"dropout": 0.0, "activation": "gelu", "layer_norm_eps": 1e-6, "norm_first": cases.ENCODERS[case]}
    module = loaded(nn.TransformerEncoderLayer(cases.DIM, cases.HEADS, cases.HIDDEN, batch_first=True, **options))
    run = lambda y: module(y, src_key_padding_mask=PADDING)
    return with_gradients(case, module, run, cases.array("y", cases.BATCH, cases.KEYS, cases.DIM))


def resized(case: str) -> np.ndarray:
    """Returns the positions of a case, for its new grid."""
    resizing, num_prefix, size, new_size = cases.GRIDS[case]
    positions = torch.from_numpy(cases.positions(case))
    if resizing == "torchvision":
        state = {"encoder.pos_embedding": positions}
        return interpolate_embeddings(8 * new_size[0], 8, state)["encoder.pos_embedding"].numpy()
    if resizing == "timm":
        return timm.layers.resample_abs_pos_embed(positions, new_size, size, num_prefix).numpy()
    model = SimpleNamespace(position_embeddings=positions, patch_size=8)
    tokens = torch.zeros(1, 1 + new_size[0] * new_size[1], cases.DIM)
    return ViTEmbeddings.interpolate_pos_encoding(model, tokens, 8 * new_size[0], 8 * new_size[1]).numpy()


def rotary(modeling) -> np.ndarray:
    """Returns queries turned by their places, [B, H, T, d], by the functions of a model."""
    query = torch.from_numpy(cases.array("rotary", cases.BATCH, cases.HEADS, cases.QUERIES, 8))
    frequencies = 1 / 10_000 ** (torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    angles = torch.arange(cases.QUERIES)[:, None] * frequencies
    both = torch.cat([angles, angles], -1)[None]
    return modeling.apply_rotary_pos_emb(query, query, both.cos(), both.sin())[0].numpy()


def buckets(case: str) -> np.ndarray:
    """Returns T5's groups of distances."""
    both_sides, count, furthest = cases.BUCKETS[case]
    key_from_query = torch.from_numpy(-cases.DISTANCES)
    return T5Attention._relative_position_bucket(key_from_query, both_sides, count, furthest).numpy()


def positions() -> dict[str, np.ndarray]:
    """Returns what tells places in a sequence."""
    found = {"rotary, llama": rotary(modeling_llama), "rotary, gpt_neox": rotary(modeling_gpt_neox)}
    halves = MarianSinusoidalPositionalEmbedding(cases.QUERIES, cases.DIM).create_weight().numpy()
    return found | {"sines, marian": halves} | {case: buckets(case) for case in cases.BUCKETS}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    parts = [attention(case) for case in cases.ATTENTION] + [encoder(case) for case in cases.ENCODERS]
    parts += [{case: resized(case) for case in cases.GRIDS}, positions()]
    return {name: array for part in parts for name, array in part.items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
