"""Computes with PyTorch, in float64, what language models are compared with.

`python -m tests.reference.make_language_models` writes language_models.npz beside this file: for each case logits, last
state, the sum of the losses, its gradients by the weights, and the weights after two steps of gradient descent.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.reference import language_model_cases as cases
from tests.reference.torch_descent import after_steps

FILE = Path(__file__).with_name("language_models.npz")
LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class LanguageModel(nn.Module):
    """Embedding or one-hot vectors, recurrent layers, and one linear layer."""

    def __init__(self, cell: str, num_layers: int, embedding: int):
        super().__init__()
        if embedding:
            self.embedding = nn.Embedding(cases.VOCABULARY, embedding)
        self.recurrent = LAYERS[cell](embedding or cases.VOCABULARY, cases.HIDDEN, num_layers, batch_first=True)
        self.head = nn.Linear(cases.HIDDEN, cases.VOCABULARY)

    def forward(self, tokens: torch.Tensor, state):
        one_hot = lambda tokens: functional.one_hot(tokens, cases.VOCABULARY).double()
        embed = self.embedding if hasattr(self, "embedding") else one_hot
        outputs, state = self.recurrent(embed(tokens), state)
        return self.head(outputs), state


def results(case: str) -> dict[str, np.ndarray]:
    """Returns outputs and gradients of a case."""
    network = LanguageModel(**cases.CASES[case]).double()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(w) for name, w in cases.weights(case, shapes).items()})
    tokens = torch.from_numpy(cases.tokens(case))
    state = [torch.from_numpy(part) for part in cases.initial_state(case)]

    def run():
        logits, last = network(tokens[:, :-1], tuple(state) if len(state) > 1 else state[0])
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"), logits, last

    loss, logits, last = run()
    loss.backward()
    found = {"logits": logits, "loss": loss}
    found |= {f"last {n}": part for n, part in enumerate(last if len(state) > 1 else [last])}
    found |= {f"gradient of {name}": value.grad for name, value in network.named_parameters()}
    found |= after_steps(network, lambda: run()[0])
    return {f"{case}: {name}": value.detach().numpy() for name, value in found.items()}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    return {name: array for case in cases.CASES for name, array in results(case).items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
