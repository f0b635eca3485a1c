"""Computes with PyTorch, in float64, what recurrent layers are compared with.

`python -m tests.reference.make_recurrent` writes recurrent.npz beside this file: for each case outputs, last state, the
gradients of weights, input and initial state, of sequences of different lengths, and the weights after two steps of
gradient descent.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.reference import recurrent_cases as cases
from tests.reference.torch_descent import after_steps

FILE = Path(__file__).with_name("recurrent.npz")


def module(case: str) -> nn.RNNBase:
    """Returns PyTorch's layer of a case, with its weights."""
    kind, stack = cases.CASES[case]
    layer = getattr(nn, kind.split()[0])(
        cases.INPUTS, cases.HIDDEN, batch_first=True, **cases.KINDS[kind], **cases.STACKS[stack]
    ).double()
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    layer.load_state_dict({name: torch.from_numpy(w) for name, w in cases.weights(case, shapes).items()})
    return layer


def results(case: str) -> dict[str, np.ndarray]:
    """Returns outputs and gradients of a case."""
    layer = module(case)
    x = torch.from_numpy(cases.sequences(case)).requires_grad_()
    state = [torch.from_numpy(part).requires_grad_() for part in cases.initial_state(case)]

    def run():
        packed = pack_padded_sequence(x, torch.tensor(cases.LENGTHS), batch_first=True)
        packed, last = layer(packed, tuple(state) if len(state) > 1 else state[0])
        output, _ = pad_packed_sequence(packed, batch_first=True)
        last = last if len(state) > 1 else (last,)
        of_output, of_last = map(torch.from_numpy, cases.cotangents(case, tuple(output.shape)))
        return (output * of_output).sum() + sum((part * of_last).sum() for part in last), output, last

    total, output, last = run()
    total.backward()
    found = {"output": output, "gradient of input": x.grad}
    found |= {f"last {n}": part for n, part in enumerate(last)}
    found |= {f"gradient of state {n}": part.grad for n, part in enumerate(state)}
    found |= {f"gradient of {name}": value.grad for name, value in layer.named_parameters()}
    found = {name: value.detach().clone() for name, value in found.items()} | after_steps(layer, lambda: run()[0])
    return {f"{case}: {name}": value.detach().numpy() for name, value in found.items()}


def arrays() -> dict[str, np.ndarray]:
    """Returns what is stored."""
    return {name: array for case in cases.CASES for name, array in results(case).items()}


if __name__ == "__main__":
    np.savez_compressed(FILE, **arrays())
