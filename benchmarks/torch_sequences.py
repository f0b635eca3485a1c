"""Recurrent models of sequences in plain PyTorch, where no library has any: peers of the benchmarks of sequences.

They are called as those of transformers are. Shapes: B sequences, S tokens or places, T tokens or frames, D width, L
layers, V the vocabulary, H height, W width and C channels of images, F features.
"""

from collections import OrderedDict
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


def backbone(name: str) -> tuple[nn.Module, int]:
    """Returns torchvision's network without what it does to its last feature map [B, F, h, w], and F."""
    import torchvision

    network = torchvision.models.get_model(name, weights=None)
    *parts, _, (_, head) = network.named_children()
    return nn.Sequential(OrderedDict(parts)), head.in_features


class Captioner(nn.Module):
    """Sees an image, and writes what it shows with an LSTM that looks at some places for each word."""

    def __init__(self, network: str, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.backbone, features = backbone(network)
        self.decoder = CaptionDecoder(features, vocabulary, width, depth)

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:  # [B, C, H, W]
        """Returns the values [B, S, F], the keys [B, S, D], and the state before the first token, [L, B, D] each."""
        values = self.backbone(images).flatten(2).mT
        sizes = (2, self.decoder.recurrent.num_layers, -1)
        state = torch.tanh(self.decoder.initial(values.mean(1))).unflatten(1, sizes).permute(1, 2, 0, 3)
        state = tuple(part.contiguous() for part in state)
        return values, self.decoder.alignment["key"](values), state

    def forward(self, images: torch.Tensor, input_ids: torch.Tensor) -> Output:
        """Returns the logits of each next token."""
        values, keys, state = self.encode(images)
        embedded, logits = self.decoder.embed(input_ids), []
        for step in embedded.split(1, 1):
            after, state = self.decoder(step, values, keys, state)
            logits.append(after)
        return Output(torch.cat(logits, 1), state)

    def generate(self, images: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        """Writes the likeliest tokens after the one that begins, which is 1."""
        values, keys, state = self.encode(images)
        written = [torch.ones(len(images), 1, dtype=torch.long)]
        for _ in range(max_new_tokens):
            logits, state = self.decoder(self.decoder.embed(written[-1]), values, keys, state)
            written.append(logits.argmax(-1))
        return torch.cat(written, 1)


class CaptionDecoder(nn.Module):
    """Looks at an image through a gate, with additive attention."""

    def __init__(self, features: int, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.initial = nn.Linear(features, 2 * depth * width)
        self.recurrent = nn.LSTM(width + features, width, depth, batch_first=True)
        sizes = {"key": (features, width), "query": (width, width), "score": (width, 1)}
        self.alignment = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})
        self.gate, self.readout = nn.Linear(width, 1), nn.Linear(width + features, width)
        self.head = nn.Linear(width, vocabulary)

    def forward(
        self, embedded: torch.Tensor, values: torch.Tensor, keys: torch.Tensor, state: Any
    ) -> tuple[torch.Tensor, Any]:  # [B, 1, D] -> [B, 1, V]
        """Returns the logits after one token, and the state after it."""
        query = state[0][-1][:, None]
        shares = self.alignment["score"](torch.tanh(keys + self.alignment["query"](query))).softmax(1)  # [B, S, 1]
        context = torch.sigmoid(self.gate(query)) * (shares.mT @ values)
        outputs, state = self.recurrent(torch.cat([embedded, context], -1), state)
        return self.head(embedded + self.readout(torch.cat([outputs, context], -1))), state


class VideoClassifier(nn.Module):
    """Sees every frame, and tells a class after each with an LSTM; the mean counts."""

    def __init__(self, network: str, classes: int, width: int, depth: int):
        super().__init__()
        self.backbone, features = backbone(network)
        self.recurrent = nn.LSTM(features, width, depth, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, frames: torch.Tensor) -> Output:  # [B, T, C, H, W] -> [B, V]
        """Returns the logits of each video."""
        pooled = self.backbone(frames.flatten(0, 1)).mean((2, 3)).unflatten(0, frames.shape[:2])
        outputs, state = self.recurrent(pooled)
        return Output(self.head(outputs).mean(1), state)
