"""Computes with PyTorch, in float64, what encoders and decoders are compared with.

`python -m tests.reference.make_seq2seq` writes seq2seq.npz beside this file: for each case logits, alignments, the sum
of the losses, its gradients by the weights, and the weights after two steps of gradient descent. The encoder is
`torch.nn.LSTM` or `GRU`, one sentence at a time, the decoder a loop over tokens with a cell for each layer and the
formulas of the papers.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.reference import seq2seq_cases as cases
from tests.reference.torch_descent import after_steps

FILE = Path(__file__).with_name("seq2seq.npz")
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Alignment(nn.Module):
    """The layers of the score of one kind."""

    def __init__(self, attention: str):
        super().__init__()
        names = {"additive": ("key", "query"), "multiplicative": ("key",), "dot": ()}[attention]
        for name in names:
            setattr(self, name, nn.Linear(cases.HIDDEN, cases.HIDDEN, bias=False))
        if attention == "additive":
            self.score = nn.Linear(cases.HIDDEN, 1, bias=False)

    def forward(self, query: torch.Tensor, values: torch.Tensor) -> torch.Tensor:  # [H], [S, H] -> [S]
        if hasattr(self, "score"):
            scores = [self.score(torch.tanh(self.query(query) + self.key(value)))[0] for value in values]
        else:
            scores = [query @ (self.key(value) if hasattr(self, "key") else value) for value in values]
        return torch.softmax(torch.stack(scores), 0)


class Decoder(nn.Module):
    """A step for one sentence."""

    def __init__(self, cell: str, num_layers: int, attention: str):
        super().__init__()
        fed = 0 if attention == "none" else cases.HIDDEN
        self.embed = nn.Embedding(cases.TARGET_SIZE, cases.EMBEDDING)
        self.recurrent = LAYERS[cell](cases.EMBEDDING + fed, cases.HIDDEN, num_layers)
        if fed:
            self.alignment = Alignment(attention)
            self.readout = nn.Linear(2 * cases.HIDDEN, cases.HIDDEN, bias=False)
        self.head = nn.Linear(cases.HIDDEN, cases.TARGET_SIZE)

    def forward(self, token: torch.Tensor, state: list, fed: torch.Tensor, values: torch.Tensor):
        x, new = torch.cat([self.embed(token), fed]), []
        for layer, before in enumerate(state):
            x, after = self.cell(layer, x, before)
            new.append(after)
        if not hasattr(self, "alignment"):
            return self.head(x), None, new, fed
        shares = self.alignment(x, values)
        fed = torch.tanh(self.readout(torch.cat([x, shares @ values])))
        return self.head(fed), shares, new, fed

    def cell(self, layer: int, x: torch.Tensor, before: tuple[torch.Tensor, ...]):
        weights = [
            getattr(self.recurrent, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        if isinstance(self.recurrent, nn.LSTM):
            h, c = torch.lstm_cell(x[None], [part[None] for part in before], *weights)
            return h[0], (h[0], c[0])
        h = torch.gru_cell(x[None], before[0][None], *weights)
        return h[0], (h[0],)


class Seq2Seq(nn.Module):
    """Encoder and decoder."""

    def __init__(self, cell: str, num_layers: int, bidirectional: bool, attention: str):
        super().__init__()
        self.num_layers, self.fed = num_layers, 0 if attention == "none" else cases.HIDDEN
        self.embed = nn.Embedding(cases.SOURCE_SIZE, cases.EMBEDDING)
        hidden = cases.HIDDEN // (1 + bidirectional)
        self.encoder = LAYERS[cell](cases.EMBEDDING, hidden, num_layers, bidirectional=bidirectional)
        self.decoder = Decoder(cell, num_layers, attention)

    def forward(self, source: torch.Tensor, target: torch.Tensor):  # [S], [T] -> [T, V], [T, S]
        values, last = self.encoder(self.embed(source))
        parts = last if isinstance(last, tuple) else (last,)
        state = [tuple(part.reshape(self.num_layers, -1)[layer] for part in parts) for layer in range(self.num_layers)]
        fed, written = values.new_zeros(self.fed), []
        for token in target:
            logits, shares, state, fed = self.decoder(token, state, fed, values)
            written.append((logits, shares))
        logits, shares = zip(*written, strict=True)
        return torch.stack(logits), torch.stack(shares) if self.fed else None


def results(case: str) -> dict[str, np.ndarray]:
    """Returns outputs and gradients of a case."""
    network = Seq2Seq(**cases.CASES[case]).double()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(w) for name, w in cases.weights(case, shapes).items()})
    source, target = torch.from_numpy(cases.source(case)), torch.from_numpy(cases.target(case))

    def run():
        pairs = [network(row[:length], to[:-1]) for row, length, to in zip(source, cases.LENGTHS, target, strict=True)]
        logits = torch.stack([logits for logits, _ in pairs])
        return functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), reduction="sum"), logits, pairs

    loss, logits, pairs = run()
    loss.backward()
    found = {"logits": logits, "loss": loss}
    if network.fed:
        pad = lambda shares: functional.pad(shares, (0, source.shape[1] - shares.shape[1]))
        found["alignments"] = torch.stack([pad(shares) for _, shares in pairs])
    found |= {f"gradient of {name}": value.grad for name, value in network.named_parameters()}
    found |= after_steps(network, lambda: run()[0])
    return {f"{case}: {name}": value.detach().numpy() for name, value in found.items()}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    return {name: array for case in cases.CASES for name, array in results(case).items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
