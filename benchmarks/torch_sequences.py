"""Recurrent models of sequences in plain PyTorch, where no library has any: peers of `benchmarks.sequences`.

They are called as those of transformers are. Shapes: B sequences, S and T tokens, D width, L layers, V the vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import nn


class Output(NamedTuple):
    """What a forward pass gives: logits [B, T, V], and the state after the last token."""

    logits: torch.Tensor
    state: Any


class LanguageModel(nn.Module):
    """Embeddings, layers of an LSTM, logits."""

    def __init__(self, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.recurrent = nn.LSTM(width, width, depth, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: torch.Tensor, state: Any = None, use_cache: bool = False) -> Output:
        """Returns the logits of each next token."""
        outputs, state = self.recurrent(self.embedding(input_ids), state)
        return Output(self.head(outputs), state)

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **greedy) -> torch.Tensor:
        """Writes the likeliest tokens after those given."""
        written, state = [input_ids], None
        for _ in range(max_new_tokens):
            logits, state = self(written[-1], state)
            written.append(logits[:, -1:].argmax(-1))
        return torch.cat(written, 1)


class Decoder(nn.Module):
    """Writes with additive attention, and is fed what it gave last."""

    def __init__(self, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.recurrent = nn.LSTM(2 * width, width, depth, batch_first=True)
        self.alignment = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in ("key", "query")})
        self.alignment["score"] = nn.Linear(width, 1, bias=False)
        self.readout, self.head = nn.Linear(2 * width, width, bias=False), nn.Linear(width, vocabulary)

    def forward(
        self, embedded: torch.Tensor, fed: torch.Tensor, values: torch.Tensor, keys: torch.Tensor, state: Any
    ) -> tuple[torch.Tensor, Any]:  # [B, 1, D] twice
        """Returns what gives the logits, and the next step, and the state after it."""
        outputs, state = self.recurrent(torch.cat([embedded, fed], -1), state)
        shares = self.alignment["score"](torch.tanh(keys + self.alignment["query"](outputs))).softmax(1)  # [B, S, 1]
        return torch.tanh(self.readout(torch.cat([outputs, shares.mT @ values], -1))), state


class Translator(nn.Module):
    """An encoder that reads in both directions, and a decoder."""

    def __init__(self, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.encoder = nn.LSTM(width, width // 2, depth, batch_first=True, bidirectional=True)
        self.decoder = Decoder(vocabulary, width, depth)

    def encode(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Returns the values and the keys [B, S, D], and the state before the first token, [L, B, D] each."""
        values, state = self.encoder(self.embed(input_ids))
        joined = (part.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2) for part in state)
        return values, self.decoder.alignment["key"](values), tuple(part.contiguous() for part in joined)

    def forward(self, input_ids: torch.Tensor, decoder_input_ids: torch.Tensor, use_cache: bool = False) -> Output:
        """Returns the logits of each next token."""
        values, keys, state = self.encode(input_ids)
        embedded, fed, outputs = self.decoder.embed(decoder_input_ids), torch.zeros_like(values[:, :1]), []
        for step in embedded.split(1, 1):
            fed, state = self.decoder(step, fed, values, keys, state)
            outputs.append(fed)
        return Output(self.decoder.head(torch.cat(outputs, 1)), state)

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **greedy) -> torch.Tensor:
        """Writes the likeliest tokens after the one that begins, which is 1."""
        values, keys, state = self.encode(input_ids)
        written, fed = [torch.ones_like(input_ids[:, :1])], torch.zeros_like(values[:, :1])
        for _ in range(max_new_tokens):
            fed, state = self.decoder(self.decoder.embed(written[-1]), fed, values, keys, state)
            written.append(self.decoder.head(fed).argmax(-1))
        return torch.cat(written, 1)
