"""Computes with PyTorch, in float64, what captioners are compared with.

`python -m tests.reference.make_captioners` writes captioners.npz beside this file: for each case, in training, logits,
the shares of the places, the sum of the losses, its gradients by the weights, the statistics of the backbone's
BatchNorm, and the weights after two steps of gradient descent. The decoder is a loop over images and tokens with a cell
for each layer and the formulas of the papers.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.reference import captioner_cases as cases
from tests.reference.torch_descent import after_steps

FILE = Path(__file__).with_name("captioners.npz")
LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CELLS = {"rnn": torch.rnn_tanh_cell, "lstm": torch.lstm_cell, "gru": torch.gru_cell}


class Decoder(nn.Module):
    """A step for one image."""

    def __init__(self, cell: str, num_layers: int, conditioning: str):
        super().__init__()
        self.cell, self.num_states = CELLS[cell], 2 if cell == "lstm" else 1
        hidden, embedding, features = cases.HIDDEN, cases.EMBEDDING, cases.FEATURES
        seen = {"start": 0, "every": embedding, "attention": features}[conditioning]
        self.embed = nn.Embedding(cases.VOCABULARY_SIZE, embedding)
        self.recurrent = LAYERS[cell](embedding + seen, hidden, num_layers)
        if conditioning == "attention":
            self.initial = nn.Linear(features, self.num_states * num_layers * hidden)
            self.alignment = nn.ModuleDict(
                {
                    "key": nn.Linear(features, hidden, bias=False),
                    "query": nn.Linear(hidden, hidden, bias=False),
                    "score": nn.Linear(hidden, 1, bias=False),
                }
            )
            self.gate = nn.Linear(hidden, 1)
            self.readout = nn.Linear(hidden + features, embedding)
        else:
            self.project = nn.Linear(features, embedding)
        self.head = nn.Linear(embedding if conditioning == "attention" else hidden, cases.VOCABULARY_SIZE)

    def advance(self, x: torch.Tensor, state: list) -> tuple[torch.Tensor, list]:
        """Returns the output of the last layer, and the state of each layer: a list of [states, hidden]."""
        new = []
        for layer, before in enumerate(state):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [getattr(self.recurrent, f"{name}_l{layer}") for name in names]
            rows = [part[None] for part in before]
            after = self.cell(x[None], rows if self.num_states == 2 else rows[0], *weights)
            after = torch.cat(after) if self.num_states == 2 else after
            x = after[0]
            new.append(after)
        return x, new

    def attend(self, asks: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the context, and how much of each place it is."""
        parts = self.alignment
        scores = [parts["score"](torch.tanh(parts["query"](asks) + parts["key"](value)))[0] for value in values]
        shares = torch.softmax(torch.stack(scores), 0)
        return torch.sigmoid(self.gate(asks)) * (shares @ values), shares


class Captioner(nn.Module):
    """A convolution with BatchNorm, and a decoder."""

    def __init__(self, cell: str, num_layers: int, conditioning: str, frozen: bool):
        super().__init__()
        self.num_layers, self.conditioning, self.frozen = num_layers, conditioning, frozen
        self.conv = nn.Conv2d(cases.IMAGE[-1], cases.FEATURES, 3, 2, 1)
        self.norm = nn.BatchNorm2d(cases.FEATURES)
        self.decoder = Decoder(cell, num_layers, conditioning)

    def forward(self, images: torch.Tensor, tokens: torch.Tensor):  # [B, C, H, W], [B, T]
        if self.frozen:
            self.norm.eval()
        maps = torch.relu(self.norm(self.conv(images)))
        maps = maps.detach() if self.frozen else maps
        written = [self.write(m.flatten(1).T, row) for m, row in zip(maps, tokens, strict=True)]
        logits, shares = zip(*written, strict=True)
        return torch.stack(logits), None if shares[0] is None else torch.stack(shares)

    def write(self, values: torch.Tensor, tokens: torch.Tensor):  # [S, F], [T] -> [T, V], [T, S]
        if self.conditioning == "attention":
            return self.write_attending(values, tokens)
        decoder, image = self.decoder, self.decoder.project(values.mean(0))
        state = [values.new_zeros(decoder.num_states, cases.HIDDEN)] * self.num_layers
        if self.conditioning == "start":
            _, state = decoder.advance(image, state)
        logits = []
        for word in decoder.embed(tokens):
            x, state = decoder.advance(torch.cat([word, image]) if self.conditioning == "every" else word, state)
            logits.append(decoder.head(x))
        return torch.stack(logits), None

    def write_attending(self, values: torch.Tensor, tokens: torch.Tensor):  # [S, F], [T] -> [T, V], [T, S]
        decoder = self.decoder
        parts = torch.tanh(decoder.initial(values.mean(0))).reshape(decoder.num_states, self.num_layers, -1)
        state, logits, looked = list(parts.transpose(0, 1)), [], []
        for word in decoder.embed(tokens):
            context, shares = decoder.attend(state[-1][0], values)
            x, state = decoder.advance(torch.cat([word, context]), state)
            logits.append(decoder.head(word + decoder.readout(torch.cat([x, context]))))
            looked.append(shares)
        return torch.stack(logits), torch.stack(looked)


def results(case: str) -> dict[str, np.ndarray]:
    """Returns outputs, gradients and statistics of a case."""
    network = Captioner(**cases.CASES[case]).double()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.ndim}
    drawn = {name: torch.from_numpy(w) for name, w in cases.weights(case, shapes).items()}
    network.load_state_dict(drawn, strict=False)
    images, tokens = torch.from_numpy(cases.images(case)).movedim(-1, 1), torch.from_numpy(cases.tokens(case))

    def run():
        logits, shares = network(images, tokens[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"), logits, shares

    loss, logits, shares = run()
    loss.backward()
    found = {"logits": logits, "loss": loss, **({} if shares is None else {"shares": shares})}
    found |= {
        f"gradient of {name}": torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in network.named_parameters()
    }
    found |= {"mean": network.norm.running_mean.clone(), "var": network.norm.running_var.clone()}
    found |= after_steps(network, lambda: run()[0])
    return {f"{case}: {name}": value.detach().numpy() for name, value in found.items()}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    return {name: array for case in cases.CASES for name, array in results(case).items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
