"""Recurrent layers: RNN, LSTM and GRU as PyTorch defines them.

The scan over time is in `jaxvision/layers/scan.py`, the steps in `jaxvision/layers/cells.py`.

Shapes: B batch, T time, D input, H hidden units, G gates, L layers, S directions (1 or 2).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.cells import GRU_CELL, LSTM_CELL, RELU, RESET_FIRST, TANH, Cell, State
from jaxvision.layers.initializers import uniform
from jaxvision.layers.scan import Scan, in_segments, scan_over_time


class Direction(nn.Module):
    """One layer in one direction.

    Attributes:
        scan: the cell and its direction.
        hidden: H.
        segment: see `Recurrent`.
        dtype: of the computation.
    """

    scan: Scan
    hidden: int
    segment: int | None
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, state: State, mask: jax.Array | None) -> tuple[jax.Array, State]:  # [B, T, D]
        """Returns the outputs [B, T, H] and the last state."""
        projection, recurrent = _weights(self.scan.cell.num_gates, self.hidden, x.shape[-1], self.dtype)
        run = scan_over_time if self.segment is None else partial(in_segments, length=self.segment)
        return run(self.scan, x=x, projection=projection, recurrent=recurrent, state=state, mask=mask)


class Matrices(nn.Module):
    """The parameters of one layer of an LSTM in one direction, those of `Direction`."""

    hidden: int
    inputs: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self) -> list[tuple[jax.Array, jax.Array]]:
        """Returns kernel and bias of the inputs, and those of the state."""
        return _weights(4, self.hidden, self.inputs, self.dtype)


def _weights(num_gates: int, hidden: int, inputs: int, dtype: DTypeLike) -> list[tuple[jax.Array, jax.Array]]:
    """Returns kernel and bias of the inputs, and those of the state: parameters of the module that calls it."""
    sizes, draw = {"input": inputs, "hidden": hidden}, uniform(hidden**-0.5)
    return [Weights(num_gates * hidden, size, dtype, draw, name=name)() for name, size in sizes.items()]


class Weights(nn.Module):
    """The kernel and the bias of a linear layer that is applied elsewhere."""

    width: int
    inputs: int
    dtype: DTypeLike
    init: Callable

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns them in the type of the computation."""
        kernel = self.param("kernel", self.init, (self.inputs, self.width))
        bias = self.param("bias", self.init, (self.width,))
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class Recurrent(nn.Module):
    """Layers of cells over time, one upon the other, in one direction or both: what RNN, LSTM and GRU share.

    Attributes:
        hidden: H, units of each layer and direction.
        num_layers: L.
        bidirectional: whether each layer also runs from the last step to the first; outputs are joined.
        dropout: share of the outputs dropped between layers in training.
        learned_state: whether the initial state is learnt, where none is given, rather than zero.
        in_features: D of `example_input`, which reading weights goes by; None for `hidden`.
        unroll: steps of the scan that are compiled in a row.
        segment: steps between the states kept for the gradient, to bound its memory; None keeps all.
        dtype: of the computation; parameters are float32.
    """

    hidden: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    learned_state: bool = False
    in_features: int | None = None
    unroll: int = 1
    segment: int | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        raise NotImplementedError

    @property
    def directions(self) -> tuple[str, ...]:
        """Those of each layer."""
        return ("forward", "backward") if self.bidirectional else ("forward",)

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        state: State | None = None,
        *,
        lengths: jax.Array | None = None,
        reverse: bool = False,
        train: bool,
    ) -> tuple[jax.Array, State]:
        """Runs over sequences.

        Args:
            x: [B, T, D].
            state: to begin with, [L S, B, H] each, as it is returned; None for the initial one.
            lengths: int [B], steps of each sequence; those after them change no state, and their outputs are zero.
            reverse: from the last step to the first (both directions are exchanged).
            train: whether to drop outputs between layers.

        Returns:
            The outputs of the last layer, [B, T, S H], and the state after the last step of each sequence, which is
            the first one of a backward direction: [L S, B, H] each, layer by layer, forward before backward.

        Raises:
            ValueError: a shape that does not fit, or a field that cannot be.
        """
        batch = self._checked(x, lengths)
        state = self._initial(batch) if state is None else state
        expected = (self.num_layers * (1 + self.bidirectional), batch, self.hidden)
        if len(state) != self.cell.num_states or any(part.shape != expected for part in state):
            shapes = ", ".join(str(jnp.shape(part)) for part in state)
            raise ValueError(f"state must be {self.cell.num_states} arrays {expected}, got {shapes}")
        x, state = jax.tree.map(lambda part: part.astype(self.dtype), (x, state))
        return self._run(x, state, lengths, reverse, train)

    def _checked(self, x: jax.Array, lengths: jax.Array | None) -> int:
        if x.ndim != 3 or 0 in x.shape:
            raise ValueError(f"sequences must be [B, T, D], at least one step of one number; got {x.shape}")
        if lengths is not None and jnp.shape(lengths) != x.shape[:1]:
            raise ValueError(f"lengths must be one for each of {x.shape[0]} sequences, got {jnp.shape(lengths)}")
        if self.segment is not None and self.segment < 1:
            raise ValueError(f"segment must be 1 step or more, got {self.segment}")
        return x.shape[0]

    def _run(
        self, x: jax.Array, state: State, lengths: jax.Array | None, reverse: bool, train: bool
    ) -> tuple[jax.Array, State]:
        last = []
        mask = None if lengths is None else jnp.arange(x.shape[1]) < lengths[:, None]  # [B, T]
        for layer in range(self.num_layers):
            if layer:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            outputs = []
            for direction in self.directions:
                first = tuple(part[len(last)] for part in state)
                scan = Scan(self.cell, (direction == "backward") != reverse, self.unroll)
                name = f"layer{layer + 1}_{direction}"
                output, end = Direction(scan, self.hidden, self.segment, self.dtype, name=name)(x, first, mask)
                outputs.append(output if mask is None else jnp.where(mask[..., None], output, 0))
                last.append(end)
            x = jnp.concatenate(outputs, -1)
        return x, tuple(jnp.stack(parts) for parts in zip(*last, strict=True))

    def _initial(self, batch: int) -> State:
        rows = self.num_layers * (1 + self.bidirectional)
        if not self.learned_state:
            return (jnp.zeros((rows, batch, self.hidden), self.dtype),) * self.cell.num_states
        names = ("initial_hidden", "initial_cell")[: self.cell.num_states]
        learnt = [self.param(name, nn.initializers.zeros, (rows, self.hidden)) for name in names]
        return tuple(jnp.broadcast_to(part[:, None], (rows, batch, self.hidden)) for part in learnt)

    def torch_names(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns the name map of `torch.nn`, which has no learnt initial state."""
        if self.learned_state:
            return {}
        lines = {}
        for direction in self.directions:
            suffix = {"forward": "", "backward": "_reverse"}[direction]
            for ours, theirs in {"input": "ih", "hidden": "hh"}.items():
                lines[f"layer{{i}}_{direction}/{ours}"] = f"{{leaf}}_{theirs}_l{{i-1}}{suffix}"
        return {"torch": lines}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of one sequence of two steps."""
        return jax.ShapeDtypeStruct((1, 2, self.in_features or self.hidden), jnp.float32)


class RNN(Recurrent):
    """Vanilla recurrent layers: `torch.nn.RNN`.

    Attributes:
        nonlinearity: of every unit.
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return _chosen("nonlinearity", self.nonlinearity, {"tanh": TANH, "relu": RELU})


class LSTM(Recurrent):
    """Long short-term memory: `torch.nn.LSTM`; its state is (h, c).

    Attributes:
        implementation: "scan", or "cudnn", which needs an NVIDIA GPU, float32, no dropout and no reversed sequences.
    """

    implementation: Literal["scan", "cudnn"] = "scan"

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return LSTM_CELL

    def _run(self, x, state, lengths, reverse, train):
        if self.implementation == "scan":
            return super()._run(x, state, lengths, reverse, train)
        if self.implementation != "cudnn":
            raise ValueError(f"implementation must be one of scan, cudnn, got {self.implementation!r}")
        from jax.experimental import rnn  # which `import jax` leaves out

        self._check_cudnn(reverse, self.dropout > 0 and train)
        (batch, steps, features), kernels, biases = x.shape, [], []
        for layer in range(self.num_layers):
            for direction in self.directions:
                inputs = len(self.directions) * self.hidden if layer else features
                pairs = Matrices(self.hidden, inputs, self.dtype, name=f"layer{layer + 1}_{direction}")()
                kernels += [kernel.T.ravel() for kernel, _ in pairs]
                biases += [bias for _, bias in pairs]
        lengths = jnp.full(batch, steps, jnp.int32) if lengths is None else lengths.astype(jnp.int32)
        sizes = features, self.hidden, self.num_layers, 0.0, self.bidirectional
        outputs, *last = rnn.lstm(x, *state, jnp.concatenate(kernels + biases), lengths, *sizes)
        return outputs, tuple(last)

    def _check_cudnn(self, reverse: bool, drops: bool) -> None:
        for name, value, only in [
            ("platform", jax.default_backend(), "gpu"),
            ("dtype", jnp.dtype(self.dtype).name, "float32"),
            ("reverse", reverse, False),
            ("dropout in training", drops, False),
            ("segment", self.segment, None),
        ]:
            if value != only:
                raise ValueError(f'implementation="cudnn" takes {name} {only} alone, got {value}')


class GRU(Recurrent):
    """Gated recurrent units: `torch.nn.GRU`.

    Attributes:
        reset: what is reset for the candidate: "after", what the recurrent weights give, as PyTorch and cuDNN have it;
            "before", the state itself, as the paper has it (https://arxiv.org/abs/1406.1078, equation 8).
    """

    reset: Literal["after", "before"] = "after"

    @property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return _chosen("reset", self.reset, {"after": GRU_CELL, "before": RESET_FIRST})

    def torch_names(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns the name map of `torch.nn`, whose GRU resets after the weights alone."""
        return super().torch_names() if self.reset == "after" else {}


def _chosen(field: str, value: str, known: Mapping[str, Cell]) -> Cell:
    if value not in known:
        raise ValueError(f"{field} must be one of {', '.join(known)}, got {value!r}")
    return known[value]
