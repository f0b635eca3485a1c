"""Captioning: a convolutional network (or any backbone) sees an image, a recurrent network says what it shows.

Vinyals, Toshev, Bengio and Erhan, "Show and Tell", https://arxiv.org/abs/1411.4555, whose decoder is given the image
once, before the first word; Donahue et al., https://arxiv.org/abs/1411.4389, at every step; Xu et al., "Show, Attend
and Tell", https://arxiv.org/abs/1502.03044, at every step those places of the feature map that it looks at (the soft
attention, with the gate of its section 4.2.1; the first state is of one layer in place of two). Shapes: B images,
H height, W width, C channels, S places of the feature map, F features, T tokens, R rows that are decoded, K of them to
an image, V vocabulary, D embedding, L layers, U hidden units.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.alignment import Alignment, Memory
from jaxvision.layers.cells import State
from jaxvision.layers.recurrent import Recurrent
from jaxvision.layers.scan import scan_module
from jaxvision.rnn.language_model import CELLS

CONDITIONING = ("start", "every", "attention")


class CaptionedImages(NamedTuple):
    """Images and what is said of them.

    Attributes:
        image: [B, H, W, C], as the backbone wants them.
        tokens: int [R, T], what the decoder is given: a token that stands for the beginning, and the caption; R is B,
            or B K: K captions of one image after the other.
    """

    image: jax.Array
    tokens: jax.Array


class Decoder(nn.Module):
    """Writes captions. See `Captioner` for the attributes. Its states have the row first: [R, L, U] each."""

    vocabulary_size: int
    recurrent: Recurrent
    embedding: int
    conditioning: str
    dropout: float
    dtype: DTypeLike

    def setup(self):
        """Makes the layers."""
        cells, linear = self.recurrent, partial(nn.Dense, dtype=self.dtype)
        normal = nn.initializers.normal(1.0)
        self.embed = nn.Embed(self.vocabulary_size, self.embedding, dtype=self.dtype, embedding_init=normal)
        if self.conditioning == "attention":
            self.initial = linear(cells.cell.num_states * cells.num_layers * cells.hidden)
            self.alignment = Alignment("additive", cells.hidden, self.dtype)
            self.gate = linear(1)
            self.readout = linear(self.embedding)
        else:
            self.project = linear(self.embedding)
        self.head = linear(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout)

    def begin(self, values: jax.Array, *, train: bool) -> tuple[Memory | jax.Array | None, State]:  # [B, S, F]
        """Returns what the decoder goes on seeing of images, and its state before the first token."""
        cells, batch = self.recurrent, len(values)
        if self.conditioning == "attention":
            shape = (batch, cells.cell.num_states, cells.num_layers, cells.hidden)
            first = jnp.tanh(self.initial(values.mean(1))).reshape(shape)
            memory = Memory(values, self.alignment.keys(values), jnp.ones(values.shape[:2], bool))
            return memory, tuple(jnp.moveaxis(first, 1, 0))
        image = self.project(values[:, 0])  # [B, D]
        nothing = (jnp.zeros((batch, cells.num_layers, cells.hidden), self.dtype),) * cells.cell.num_states
        if self.conditioning == "every":
            return image, nothing
        return None, self.read(image[:, None], nothing, None, train=train)[1]

    def embedded(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [...] -> [..., D]
        """Returns what stands for tokens."""
        return self.drop(self.embed(tokens), deterministic=not train)

    def read(
        self, embedded: jax.Array, state: State, image: jax.Array | None, *, train: bool
    ) -> tuple[jax.Array, State]:  # [R, T, D], image [B, D] -> [R, T, U]
        """Returns the outputs after each of several tokens, and the state after the last."""
        if image is not None:
            rows = jnp.repeat(image, len(embedded) // len(image), 0)[:, None]  # [R, 1, D]
            embedded = jnp.concatenate([embedded, jnp.broadcast_to(rows, embedded.shape)], -1)
        outputs, state = self.recurrent(embedded, _exchanged(state), train=train)
        return outputs, _exchanged(state)

    def look(
        self, embedded: jax.Array, state: State, memory: Memory, *, train: bool
    ) -> tuple[jax.Array, jax.Array, State]:  # [R, D] -> [R, U + F], [R, S]
        """Returns output and context after one token, how much each place counted for it, and the next state."""
        query = state[0][:, -1]  # [R, U]
        weights = self.alignment(query.reshape(len(memory.values), -1, query.shape[-1]), memory)  # [B, K, S]
        context = nn.sigmoid(self.gate(query)) * (weights @ memory.values).reshape(len(query), -1)
        outputs, state = self.read(jnp.concatenate([embedded, context], -1)[:, None], state, None, train=train)
        return jnp.concatenate([outputs[:, 0], context], -1), weights.reshape(len(query), -1), state

    def logits(self, outputs: jax.Array, embedded: jax.Array, *, train: bool) -> jax.Array:  # -> [..., V]
        """Returns the logits of the next tokens, from what `read` or `look` gave after tokens."""
        if self.conditioning == "attention":
            outputs = embedded + self.readout(outputs)
        return self.head(self.drop(outputs, deterministic=not train))


class Captioner(nn.Module):
    """A backbone, and a decoder that is given what it sees.

    Attributes:
        backbone: has `features` and `pool`, as `create_model(name).backbone`.
        vocabulary_size: V; tokens are 0 to V - 1.
        conditioning: how the decoder is given the image: pooled, once before the first token ("start") or beside every
            token ("every"), or as the last feature map, of which it looks at some places for each token ("attention").
        cell: of the recurrent layers.
        hidden: U, units of each layer.
        num_layers: L.
        embedding: D, of tokens and of the pooled image.
        frozen: whether the backbone is left as it is: it gets no gradient, and is in training as it is in use.
        dropout: share dropped in training of embeddings, between layers, and of what the head is given.
        dtype: of the computation; parameters are float32.
    """

    backbone: nn.Module
    vocabulary_size: int
    conditioning: Literal["start", "every", "attention"] = "attention"
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    hidden: int = 128
    num_layers: int = 1
    embedding: int = 64
    frozen: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the decoder.

        Raises:
            ValueError: a field that cannot be.
        """
        for field, known in (("cell", CELLS), ("conditioning", CONDITIONING)):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} must be one of {', '.join(known)}, got {getattr(self, field)!r}")
        options = {"dropout": self.dropout, "dtype": self.dtype}
        layers = CELLS[self.cell](self.hidden, self.num_layers, **options, parent=None)
        self.decoder = Decoder(self.vocabulary_size, layers, self.embedding, self.conditioning, **options)

    def encode(self, image: jax.Array, *, train: bool) -> tuple[Memory | jax.Array | None, State]:
        """Sees images.

        Args:
            image: [B, H, W, C].
            train: whether to drop activations, and to normalise with the statistics of the batch.

        Returns:
            What `step` wants beside tokens and state, and the state before the first token.
        """
        learns = train and not self.frozen
        values = self.backbone.features(image, train=learns)[-1]
        if self.conditioning != "attention":
            values = self.backbone.pool(values, train=learns)
        values = (jax.lax.stop_gradient(values) if self.frozen else values).astype(self.dtype)
        return self.decoder.begin(values.reshape(len(values), -1, values.shape[-1]), train=train)

    def step(
        self, tokens: jax.Array, state: State, memory: Memory | jax.Array | None, *, train: bool = False
    ) -> tuple[jax.Array, State]:
        """Writes one token of each row.

        Args:
            tokens: int [R], the last of each row; R is B, or B K: K rows of one image after the other.
            state: of the rows, as it is returned.
            memory: of the B images, as `encode` gives it.
            train: whether to drop activations.

        Returns:
            The logits of the next tokens [R, V] and the state after it, as `jaxvision.ops.decoding` wants them.
        """
        embedded = self.decoder.embedded(tokens, train=train)
        if self.conditioning == "attention":
            output, _, state = self.decoder.look(embedded, state, memory, train=train)
        else:
            outputs, state = self.decoder.read(embedded[:, None], state, memory, train=train)
            output = outputs[:, 0]
        return self.decoder.logits(output, embedded, train=train), state

    def align(self, captioned: CaptionedImages, *, train: bool) -> tuple[jax.Array, jax.Array | None]:
        """Returns the logits of each next token [R, T, V], and how much of each place it is of [R, T, S].

        The shares are None without attention. For the arguments see `__call__`.
        """
        _check_tokens(captioned)
        memory, state = self.encode(captioned.image, train=train)
        state = jax.tree.map(lambda part: jnp.repeat(part, len(captioned.tokens) // len(part), 0), state)
        embedded, weights = self.decoder.embedded(captioned.tokens, train=train), None
        if self.conditioning == "attention":

            def look(decoder, state, embedded):
                output, weights, state = decoder.look(embedded, state, memory, train=train)
                return state, (output, weights)

            _, (outputs, weights) = scan_module(look, self.decoder, state, embedded)
        else:
            outputs, _ = self.decoder.read(embedded, state, memory, train=train)
        return self.decoder.logits(outputs, embedded, train=train), weights

    def __call__(self, captioned: CaptionedImages, *, train: bool) -> jax.Array:
        """Returns the logits of each next token, [R, T, V].

        Args:
            captioned: images, and the tokens before each that is asked for (teacher forcing).
            train: see `encode`.

        Raises:
            ValueError: shapes that do not fit.
        """
        return self.align(captioned, train=train)[0]

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in a PyTorch module that has those of the backbone and a `decoder` like this one's."""
        cells = CELLS[self.cell](1, parent=None).torch_names()["torch"]
        lines = {f"decoder/recurrent/{ours}": f"decoder.recurrent.{theirs}" for ours, theirs in cells.items()}
        lines["decoder/embed/embedding"] = "decoder.embed.weight"
        names = (
            "initial",
            "gate",
            "readout",
            "project",
            "head",
            *(f"alignment/{n}" for n in ("key", "query", "score")),
        )
        lines |= {f"decoder/{name}": f"decoder.{name.replace('/', '.')}" for name in names}
        return {
            layout: {f"backbone/{ours}": theirs for ours, theirs in of_backbone.items() if ours != "head"} | lines
            for layout, of_backbone in self.backbone.torch_names().items()
        }

    def example_input(self) -> CaptionedImages:
        """Returns the shapes and types of one image as the backbone is usually given it, and two tokens."""
        return CaptionedImages(self.backbone.example_input(), jax.ShapeDtypeStruct((1, 2), jnp.int32))


def _exchanged(state: State) -> State:  # [R, L, U] each <-> [L, R, U]
    return tuple(part.swapaxes(0, 1) for part in state)


def _check_tokens(captioned: CaptionedImages) -> None:
    tokens, images = captioned.tokens.shape, captioned.image.shape
    if len(tokens) != 2 or 0 in tokens or tokens[0] % images[0]:
        raise ValueError(
            f"tokens must be [R, T], as many captions for each image and one token or more, got {tokens} for images "
            f"{images}"
        )
