"""Computes with PyTorch and transformers, in float64, what sequence Transformers are compared with.

`python -m tests.reference.make_sequences` writes a file for each case to sequences beside this file: logits, and
fingerprints of the loss, of its gradients by the weights, and of the weights after two steps of gradient descent.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, MarianConfig, MarianMTModel

from tests.reference import sequence_cases as cases
from tests.reference.descent import MOMENTUM, RATE, STEPS
from tests.reference.stored import Results, fingerprint, write

FOLDER = Path(__file__).parent
PADDING = torch.arange(max(cases.LENGTHS)) >= torch.tensor(cases.LENGTHS)[:, None]  # True is hidden


def sines(halves: bool) -> np.ndarray:  # -> [MAX_LENGTH, DIM]
    """Returns the positions of the paper, equation by equation, or those with all sines before all cosines."""
    found = np.zeros((cases.MAX_LENGTH, cases.DIM))
    for place in range(cases.MAX_LENGTH):
        for i in range(cases.DIM // 2):
            angle = place / 10000 ** (2 * i / cases.DIM)
            sine, cosine = (i, i + cases.DIM // 2) if halves else (2 * i, 2 * i + 1)
            found[place, sine], found[place, cosine] = math.sin(angle), math.cos(angle)
    return found


class AroundTransformer(nn.Module):
    """Embeddings and positions before a `torch.nn.Transformer`, logits after it."""

    def __init__(self, depth: int, shared: str, norm_first: bool = False, positions: str = "sine_cosine", **_):
        super().__init__()
        self.source_embed = nn.Embedding(cases.SOURCE_SIZE, cases.DIM)
        self.target_embed = nn.Embedding(cases.TARGET_SIZE, cases.DIM)
        if shared == "none":
            self.head = nn.Linear(cases.DIM, cases.TARGET_SIZE, bias=False)
        if positions == "learned":
            self.source_positions = nn.Parameter(torch.zeros(cases.MAX_LENGTH, cases.DIM))
            self.target_positions = nn.Parameter(torch.zeros(cases.MAX_LENGTH, cases.DIM))
        depths = {"num_encoder_layers": depth, "num_decoder_layers": depth}
        options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first, **depths}
        self.transformer = nn.Transformer(cases.DIM, cases.HEADS, dim_feedforward=cases.HIDDEN, **options)

    def embedded(self, part: str, tokens: torch.Tensor) -> torch.Tensor:
        table = getattr(self, f"{part}_embed")
        fixed = torch.from_numpy(sines(halves=False))
        positions = getattr(self, f"{part}_positions", fixed)
        return table(tokens) * math.sqrt(cases.DIM) + positions[: tokens.shape[1]].to(table.weight)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1]).isinf()
        masks = {"tgt_mask": causal, "src_key_padding_mask": PADDING, "memory_key_padding_mask": PADDING}
        parts = self.embedded("source", source), self.embedded("target", target)
        outputs = self.transformer(*parts, **masks)
        return self.head(outputs) if hasattr(self, "head") else outputs @ self.target_embed.weight.T


def marian(depth: int, shared: str) -> MarianMTModel:
    """Returns a tiny MarianMTModel, all of whose embeddings learn, that of the padding too."""
    parts = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {"layers": depth, "attention_heads": cases.HEADS, "ffn_dim": cases.HIDDEN}.items()
    }
    config = MarianConfig(
        vocab_size=cases.TARGET_SIZE if shared == "all" else cases.SOURCE_SIZE,
        decoder_vocab_size=cases.TARGET_SIZE,
        d_model=cases.DIM,
        max_position_embeddings=cases.MAX_LENGTH,
        activation_function="swish",
        scale_embedding=True,
        share_encoder_decoder_embeddings=shared == "all",
        dropout=0.0,
        pad_token_id=0,
        attn_implementation="eager",
        **parts,
    )
    found = MarianMTModel(config)
    for module in found.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None
    return found


def gpt2(depth: int) -> GPT2LMHeadModel:
    """Returns a tiny GPT2LMHeadModel."""
    rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"n_embd": cases.DIM, "n_layer": depth, "n_head": cases.HEADS, "n_positions": cases.MAX_LENGTH}
    return GPT2LMHeadModel(GPT2Config(vocab_size=cases.TARGET_SIZE, **sizes, **rates, attn_implementation="eager"))


def network(case: str) -> nn.Module:
    """Returns the network of a case in float64, as it is drawn."""
    if case == cases.GPT_CASE:
        return gpt2(cases.DEPTHS[case]).double()
    layout, fields = cases.TRANSFORMERS[case]
    if layout == "torch":
        return AroundTransformer(cases.DEPTHS[case], **fields).double()
    found = marian(cases.DEPTHS[case], fields["shared"]).double()
    for part in (found.model.encoder, found.model.decoder):  # theirs are of float32
        part.embed_positions.weight.data = torch.from_numpy(sines(halves=True))
    return found


def trained(case: str, net: nn.Module) -> dict[str, torch.Tensor]:
    """Returns what is trained, by name; of transformers a buffer too."""
    found = {name: value for name, value in net.named_parameters() if value.requires_grad}
    bias = getattr(net, "final_logits_bias", None)
    return found if bias is None else found | {"final_logits_bias": bias}


def logits_of(case: str, net: nn.Module) -> torch.Tensor:  # -> [B, T, V]
    """Returns the logits after each token of the target."""
    before = torch.from_numpy(cases.target(case)[:, :-1])
    if case == cases.GPT_CASE:
        return net(before).logits
    source = torch.from_numpy(cases.source(case))
    if isinstance(net, MarianMTModel):
        return net(source, attention_mask=(~PADDING).long(), decoder_input_ids=before).logits
    return net(source, before)


def results(case: str) -> Results:
    """Returns outputs and gradients of a case."""
    net = network(case).eval()
    values = trained(case, net)
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    for name, weight in cases.weights(case, shapes).items():
        values[name].data.copy_(torch.from_numpy(weight))
        values[name].requires_grad_()
    optimizer = torch.optim.SGD(values.values(), RATE, MOMENTUM)
    after, first = torch.from_numpy(cases.target(case)[:, 1:]).flatten(), {}
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = logits_of(case, net)
        loss = functional.cross_entropy(logits.flatten(0, 1), after, reduction="sum")
        loss.backward()
        gradients = {f"gradient of {name}": value.grad.clone() for name, value in values.items()}
        first = first or {"logits": logits.detach(), "loss": loss.detach(), **gradients}
        optimizer.step()
    tensors = first | {f"{name} after two steps": value.detach() for name, value in values.items()}
    prints = {name: fingerprint(name, tensor.numpy()) for name, tensor in tensors.items()}
    count = sum(value.numel() for value in values.values())
    return Results(count, shapes, first["logits"].numpy(), prints)


if __name__ == "__main__":
    for name in cases.CASES:
        write(FOLDER / cases.file_name(name), results(name))
