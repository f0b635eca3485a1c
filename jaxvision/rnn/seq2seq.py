"""Sequence to sequence: an encoder reads a sentence, a decoder writes another, token by token.

Sutskever, Vinyals and Le 2014, https://arxiv.org/abs/1409.3215, whose decoder knows of the source what a state holds;
with attention, Bahdanau, Cho and Bengio 2015, https://arxiv.org/abs/1409.0473 (additive), and Luong, Pham and Manning
2015, https://arxiv.org/abs/1508.04025 (multiplicative), it looks at every place of the source at every step. Both
scores stand where Luong has them: the state after a step asks, and the answer goes into the next step (section 3.3).
Shapes: B pairs, S source tokens, T target tokens, R rows that are decoded, K of them to a pair, V target vocabulary,
D embedding, H hidden units, L layers.
"""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.alignment import Alignment, Memory
from jaxvision.layers.cells import State
from jaxvision.layers.initializers import torch_linear
from jaxvision.layers.pairs import Pairs
from jaxvision.layers.recurrent import GRU, LSTM, Recurrent
from jaxvision.layers.scan import scan_module

CELLS = {"lstm": LSTM, "gru": GRU}
ATTENTION = ("none", "additive", "multiplicative", "dot")


class DecoderState(NamedTuple):
    """What the decoder remembers, the row first, as decoding wants it.

    Attributes:
        layers: [R, L, H] each, the states of the recurrent layers.
        fed: [R, H], the output of the last step, which goes into the next; [R, 0] without attention.
    """

    layers: State
    fed: jax.Array


class Decoder(nn.Module):
    """One step of writing: embedding, recurrent layers, attention, logits. See `Seq2Seq` for the attributes."""

    vocabulary_size: int
    recurrent: Recurrent
    embedding: int
    attention: str
    dropout: float
    dtype: DTypeLike

    def setup(self):
        """Makes the layers."""
        hidden = self.recurrent.hidden
        self.embed = _embed(self.vocabulary_size, self.embedding, self.dtype)
        if self.attention != "none":
            self.alignment = Alignment(self.attention, hidden, self.dtype)
            self.readout = _linear(2 * hidden, hidden, self.dtype, use_bias=False)
        self.head = _linear(hidden, self.vocabulary_size, self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def remember(self, values: jax.Array, mask: jax.Array) -> Memory:  # [B, S, H], [B, S]
        """Returns the memory of what the encoder gave."""
        return Memory(values, values if self.attention == "none" else self.alignment.keys(values), mask)

    def embedded(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [...] -> [..., D]
        """Returns what stands for tokens."""
        return self.drop(self.embed(tokens), deterministic=not train)

    def advance(
        self, embedded: jax.Array, state: DecoderState, memory: Memory, *, train: bool
    ) -> tuple[jax.Array, jax.Array | None, DecoderState]:  # embedded: [R, D]
        """Returns the output [R, H], how much each place of the source counted [R, S], and the next state."""
        inputs = jnp.concatenate([embedded, state.fed], -1)
        outputs, layers = self.recurrent(inputs[:, None], _layer_first(state.layers), train=train)
        output, layers = outputs[:, 0], _layer_first(layers)
        if self.attention == "none":
            return output, None, DecoderState(layers, state.fed)
        query = output.reshape(len(memory.values), -1, output.shape[-1])  # [B, K, H]
        weights = self.alignment(query, memory)
        context = (weights @ memory.values).reshape(output.shape)
        output = jnp.tanh(self.readout(jnp.concatenate([output, context], -1)))
        return output, weights.reshape(len(output), -1), DecoderState(layers, output)

    def logits(self, output: jax.Array, *, train: bool) -> jax.Array:  # [..., H] -> [..., V]
        """Returns the logits of the next tokens."""
        return self.head(self.drop(output, deterministic=not train))


class Seq2Seq(nn.Module):
    """Encoder and decoder, with weights of their own.

    Attributes:
        source_size: tokens of the source are 0 to this less 1.
        target_size: V, the same of the target.
        cell: of the recurrent layers.
        hidden: H, units of each layer of the decoder; of the encoder as many, half of them in each direction where it
            has two.
        num_layers: L, of the encoder and of the decoder, which begins with the states that the encoder ends with.
        embedding: D, of both.
        bidirectional: whether the encoder also reads from the end to the beginning.
        attention: how the decoder looks at the source: "none" (it has the encoder's last state alone), "additive",
            "multiplicative" (Luong's "general"), "dot".
        dropout: share dropped in training of embeddings, between layers, and of what the head is given.
        dtype: of the computation; parameters are float32.
    """

    source_size: int
    target_size: int
    cell: Literal["lstm", "gru"] = "lstm"
    hidden: int = 128
    num_layers: int = 1
    embedding: int = 64
    bidirectional: bool = True
    attention: Literal["none", "additive", "multiplicative", "dot"] = "additive"
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers.

        Raises:
            ValueError: a field that cannot be.
        """
        self._check_fields()
        make = CELLS[self.cell]
        options = {"dropout": self.dropout, "dtype": self.dtype}
        halves = 1 + self.bidirectional
        self.embed = _embed(self.source_size, self.embedding, self.dtype)
        self.encoder = make(self.hidden // halves, self.num_layers, self.bidirectional, **options)
        layers = make(self.hidden, self.num_layers, parent=None, **options)
        fields = (self.embedding, self.attention, self.dropout, self.dtype)
        self.decoder = Decoder(self.target_size, layers, *fields)
        self.drop = nn.Dropout(self.dropout)

    def _check_fields(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        if self.attention not in ATTENTION:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION)}, got {self.attention!r}")
        if self.bidirectional and self.hidden % 2:
            raise ValueError(f"hidden must be even, half of it for each direction of the encoder, got {self.hidden}")

    def encode(self, source: jax.Array, lengths: jax.Array, *, train: bool) -> tuple[Memory, DecoderState]:
        """Reads sentences.

        Args:
            source: int [B, S].
            lengths: int [B].
            train: whether to drop activations.

        Returns:
            What `step` looks at, and the state before the first token.

        Raises:
            ValueError: shapes that do not fit.
        """
        if source.ndim != 2 or lengths.shape != source.shape[:1]:
            raise ValueError(f"source and lengths must be [B, S] and [B], got {source.shape} and {lengths.shape}")
        embedded = self.drop(self.embed(source), deterministic=not train)
        values, last = self.encoder(embedded, lengths=lengths, train=train)
        memory = self.decoder.remember(values, jnp.arange(source.shape[1]) < lengths[:, None])
        fed = jnp.zeros((len(source), 0 if self.attention == "none" else self.hidden), self.dtype)
        return memory, DecoderState(tuple(self._joined(part) for part in last), fed)

    def _joined(self, part: jax.Array) -> jax.Array:  # [L 2, B, H / 2] or [L, B, H] -> [B, L, H]
        """Puts the directions of a layer side by side."""
        return part.transpose(1, 0, 2).reshape(part.shape[1], self.num_layers, self.hidden)

    def step(
        self, tokens: jax.Array, state: DecoderState, memory: Memory, *, train: bool = False
    ) -> tuple[jax.Array, DecoderState]:
        """Writes one token of each row.

        Args:
            tokens: int [R], the last of each row; R is B, or B K: K rows of one sentence after the other.
            state: of the rows, as it is returned.
            memory: of the B sentences, as `encode` gives it.
            train: whether to drop activations.

        Returns:
            The logits of the next tokens [R, V] and the state after it, as `jaxvision.ops.decoding` wants them.
        """
        embedded = self.decoder.embedded(tokens, train=train)
        output, _, state = self.decoder.advance(embedded, state, memory, train=train)
        return self.decoder.logits(output, train=train), state

    def align(
        self, pairs: Pairs, *, sampling: float | jax.Array | None = None, train: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns the logits of each next token [B, T, V], and the share of each place of the source [B, T, S].

        The shares are None without attention. For the arguments see `__call__`.
        """
        _check_target(pairs)
        memory, state = self.encode(pairs.source, pairs.lengths, train=train)

        def write(decoder, carry, embedded):
            state, said = carry
            if sampling is not None:
                own = jax.random.bernoulli(decoder.make_rng("sampling"), sampling, said.shape)
                embedded = jnp.where(own[:, None], decoder.embedded(said, train=train), embedded)
            output, weights, state = decoder.advance(embedded, state, memory, train=train)
            if sampling is not None:
                logits = decoder.logits(output, train=train)
                said = jax.random.categorical(decoder.make_rng("sampling"), logits).astype(said.dtype)
            return (state, said), (output, weights)

        # Embeddings and logits of all steps at once: so the gradients of the vocabulary's weights are one product each.
        embedded = self.decoder.embedded(pairs.target, train=train)
        _, (outputs, weights) = scan_module(write, self.decoder, (state, pairs.target[:, 0]), embedded)
        return self.decoder.logits(outputs, train=train), weights

    def __call__(self, pairs: Pairs, *, sampling: float | jax.Array | None = None, train: bool) -> jax.Array:
        """Returns the logits of each next token, [B, T, V].

        Args:
            pairs: sentences, and the tokens before each that is asked for (teacher forcing).
            sampling: the probability that a token is replaced by one drawn from what the model says there (scheduled
                sampling, https://arxiv.org/abs/1506.03099, with draws of the random stream "sampling"); None for never.
            train: whether to drop activations.

        Raises:
            ValueError: shapes that do not fit.
        """
        return self.align(pairs, sampling=sampling, train=train)[0]

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that calls them as this one does."""
        encoder = CELLS[self.cell](1, bidirectional=self.bidirectional, parent=None).torch_names()["torch"]
        decoder = CELLS[self.cell](1, parent=None).torch_names()["torch"]
        lines = {f"encoder/{ours}": f"encoder.{theirs}" for ours, theirs in encoder.items()}
        lines |= {f"decoder/recurrent/{ours}": f"decoder.recurrent.{theirs}" for ours, theirs in decoder.items()}
        lines |= {"embed/embedding": "embed.weight", "decoder/embed/embedding": "decoder.embed.weight"}
        lines |= {f"decoder/alignment/{name}": f"decoder.alignment.{name}" for name in ("key", "query", "score")}
        return {"torch": lines | {f"decoder/{name}": f"decoder.{name}" for name in ("readout", "head")}}

    def example_input(self) -> Pairs:
        """Returns the shapes and types of one pair of two tokens each."""
        tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
        return Pairs(tokens, jax.ShapeDtypeStruct((1,), jnp.int32), tokens)


def _embed(size: int, dim: int, dtype: DTypeLike) -> nn.Embed:
    return nn.Embed(size, dim, dtype=dtype, embedding_init=nn.initializers.normal(1.0))


def _linear(fan_in: int, fan_out: int, dtype: DTypeLike, use_bias: bool = True) -> nn.Dense:
    kernel_init, bias_init = torch_linear(fan_in, fan_out)
    return nn.Dense(fan_out, use_bias, dtype, kernel_init=kernel_init, bias_init=bias_init)


def _layer_first(layers: State) -> State:  # [R, L, H] each <-> [L, R, H]
    return tuple(part.swapaxes(0, 1) for part in layers)


def _check_target(pairs: Pairs) -> None:
    if pairs.target.ndim != 2 or len(pairs.target) != len(pairs.source) or pairs.target.shape[1] == 0:
        raise ValueError(
            f"target must be [B, T], as many as the sources and one token or more, got {pairs.target.shape} for "
            f"sources {pairs.source.shape}"
        )
