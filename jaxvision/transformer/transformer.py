"""The Transformer: attention alone, from one sequence to another.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, "Attention is all you need",
https://arxiv.org/abs/1706.03762. Shapes: B pairs, S source tokens, T target tokens, R rows that are decoded, K of them
to a pair, V target vocabulary, D dimension, H heads, L blocks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxvision.layers.attention import Implementation, KeysValues, MultiHeadAttention, padding_mask
from jaxvision.layers.checks import check_counts, check_rates
from jaxvision.layers.embedding import sine_cosine_1d
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.pairs import Pairs
from jaxvision.layers.stack import block_names
from jaxvision.layers.transformer import Cache, Decoder, DecoderBlock, Encoder, EncoderBlock, Mlp, empty_cache
from jaxvision.transformer import transformer_names

SHARED = ("all", "target", "none")
POSITIONS = ("sine_cosine", "sine_cosine_halves", "learned")


class Memory(NamedTuple):
    """What the decoder looks at.

    Attributes:
        blocks: for each block of the decoder keys and values of the source, [B, S, H, d].
        mask: bool [B, 1, 1, S], which of its tokens there are.
    """

    blocks: tuple[KeysValues, ...]
    mask: jax.Array


class Transformer(nn.Module):
    """Encoder and decoder. Defaults are the paper's base model.

    Attributes:
        source_size: tokens of the source are 0 to this less 1.
        target_size: V, the same of the target.
        dim: D.
        depth: L, of the encoder and of the decoder.
        num_heads: H.
        hidden: of the perceptron in each block.
        max_length: most tokens of a source or a target, and the size of the cache that `encode` makes.
        positions: sines and cosines, in turn as in the paper or in halves, or parameters.
        shared: which are one table: "all", embeddings of source and target and the weights that give logits, as in the
            paper; "target", all but that of the source; or "none".
        logits_bias: whether each token has a bias of its logit, as in Marian.
        norm_first: whether what a branch is given is normalised, or, as in the paper, the sum.
        final_norm: whether what the last block gives is normalised, as models with `norm_first` need it.
        activation: of the perceptrons.
        dropout_rate: share dropped in training of embeddings with their positions, of what branches give, and between
            the layers of perceptrons (which the paper does not drop).
        attention_dropout_rate: share of the weights of attention dropped in training.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks are the steps of one loop, see `jaxvision.layers.transformer.Decoder`.
        epsilon: of the normalisations.
        implementation: of attention, see `jaxvision.layers.attention.dot_product_attention`.
        dtype: of the computation; parameters are float32, and so are softmax and the sums of the normalisations.
    """

    source_size: int
    target_size: int
    dim: int = 512
    depth: int = 6
    num_heads: int = 8
    hidden: int = 2048
    max_length: int = 512
    positions: Literal["sine_cosine", "sine_cosine_halves", "learned"] = "sine_cosine"
    shared: Literal["all", "target", "none"] = "all"
    logits_bias: bool = False
    norm_first: bool = False
    final_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    remat: bool = False
    scan: bool = False
    epsilon: float = 1e-5
    implementation: Implementation | None = None
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers.

        Raises:
            ValueError: fields that cannot be.
        """
        self._check_fields()
        embed = partial(nn.Embed, features=self.dim, embedding_init=nn.initializers.normal(self.dim**-0.5))
        if self.shared == "all":
            self.embed = embed(self.target_size, dtype=self.dtype)
        else:
            self.source_embed = embed(self.source_size, dtype=self.dtype)
            self.target_embed = embed(self.target_size, dtype=self.dtype)
        if self.shared == "none":
            self.head = nn.Dense(self.target_size, False, self.dtype, kernel_init=nn.initializers.xavier_uniform())
        if self.logits_bias:
            self.bias = self.param("logits_bias", nn.initializers.zeros, (self.target_size,))
        if self.positions == "learned":
            shape, draw = (self.max_length, self.dim), nn.initializers.normal(self.dim**-0.5)
            self.learnt = {part: self.param(f"{part}_positions", draw, shape) for part in ("source", "target")}
        self.encoder, self.decoder = self._stacks()
        self.drop = nn.Dropout(self.dropout_rate)

    def _stacks(self) -> tuple[Encoder, Decoder]:
        norm = partial(layer_norm, epsilon=self.epsilon, dtype=self.dtype)
        attention = partial(
            MultiHeadAttention,
            self.num_heads,
            self.attention_dropout_rate,
            implementation=self.implementation,
            dtype=self.dtype,
        )
        mlp = partial(Mlp, self.hidden, self.dropout_rate, self.activation, dtype=self.dtype)
        options = {"mlp": mlp, "norm": norm, "dropout_rate": self.dropout_rate, "norm_first": self.norm_first}
        encoder_block = partial(EncoderBlock, attention, **options)
        decoder_block = partial(DecoderBlock, partial(attention, causal=True), cross_attention=attention, **options)
        last = norm if self.final_norm else None
        how = last, self.remat, self.scan
        return Encoder(self.depth, encoder_block, *how), Decoder(self.depth, decoder_block, *how)

    def stacks(self) -> dict[str, Sequence[str]]:
        """Returns the blocks that are run as loops, by the paths of their stacks."""
        return {f"{part}/blocks": block_names(self.depth) for part in ("encoder", "decoder")} if self.scan else {}

    def _check_fields(self) -> None:
        if self.shared not in SHARED:
            raise ValueError(f"shared must be one of {', '.join(SHARED)}, got {self.shared!r}")
        if self.positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {self.positions!r}")
        if self.shared == "all" and self.source_size != self.target_size:
            raise ValueError(
                f'shared="all" is for one vocabulary, got {self.source_size} and {self.target_size} tokens: '
                'shared="target" has a table for the source'
            )
        check_counts(dim=self.dim, depth=self.depth, num_heads=self.num_heads, hidden=self.hidden)
        check_rates(dropout_rate=self.dropout_rate, attention_dropout_rate=self.attention_dropout_rate)
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide dim={self.dim}")

    def encode(self, source: jax.Array, lengths: jax.Array, *, train: bool) -> tuple[Memory, Cache]:
        """Reads sentences.

        Args:
            source: int [B, S].
            lengths: int [B], tokens of each source; what follows them does not count.
            train: whether to drop activations.

        Returns:
            What `step` looks at, and what is remembered before the first token.

        Raises:
            ValueError: shapes that do not fit, or a source longer than `max_length`.
        """
        if source.ndim != 2 or lengths.shape != source.shape[:1]:
            raise ValueError(f"source and lengths must be [B, S] and [B], got {source.shape} and {lengths.shape}")
        if source.shape[1] == 0:
            raise ValueError(f"the source must have room for one token or more, got {source.shape}")
        mask = padding_mask(lengths, source.shape[1])
        encoded = self.encoder(self._embedded("source", source, train=train), mask=mask, train=train)
        shape = (len(source), self.max_length, self.num_heads, self.dim // self.num_heads)
        return Memory(self.decoder.remember(encoded), mask), empty_cache(self.depth, shape, self.dtype)

    def step(self, tokens: jax.Array, state: Cache, memory: Memory, *, train: bool = False) -> tuple[jax.Array, Cache]:
        """Writes one token of each row.

        Args:
            tokens: int [R], the last of each row; R is B, or B K: K rows of one sentence after the other.
            state: of the rows, as it is returned.
            memory: of the B sentences, as `encode` gives it.
            train: whether to drop activations.

        Returns:
            The logits of the next tokens [R, V] and the state after it, as `jaxvision.ops.decoding` wants them. After
            `max_length` tokens logits are NaN.

        Raises:
            ValueError: shapes that do not fit.
        """
        if tokens.shape != state.length.shape or len(tokens) % len(memory.mask):
            raise ValueError(
                f"tokens must be [R], one for each of the {len(state.length)} rows of the state, of {len(memory.mask)} "
                f"sentences as many each; got {tokens.shape}"
            )
        x = self._embedded("target", tokens[:, None], state.length[0], train=train)
        x, state = self.decoder.extend(x, state, memory.blocks, memory_mask=memory.mask, train=train)
        return self._logits(x[:, 0]), state

    def __call__(self, pairs: Pairs, *, sampling: float | jax.Array | None = None, train: bool) -> jax.Array:
        """Returns the logits of each next token, [B, T, V].

        The weights of attention are sown, see `attention_maps`.

        Args:
            pairs: sentences, and the tokens before each that is asked for (teacher forcing).
            sampling: the probability that a token is replaced by one drawn from what the model says there, after those
                of the pairs (https://arxiv.org/abs/1906.07651; draws of the random stream "sampling"); None for never.
            train: whether to drop activations.

        Raises:
            ValueError: shapes that do not fit, or more tokens than `max_length`.
        """
        if pairs.target.ndim != 2 or len(pairs.target) != len(pairs.source) or pairs.target.shape[1] == 0:
            raise ValueError(
                f"target must be [B, T], as many as the sources and one token or more, got {pairs.target.shape} for "
                f"sources {pairs.source.shape}"
            )
        memory, _ = self.encode(pairs.source, pairs.lengths, train=train)
        target = jnp.asarray(pairs.target)
        if sampling is not None:
            target = self._partly_own(target, self._forced(target, memory, train), sampling)
        return self._forced(target, memory, train)

    def _forced(self, target: jax.Array, memory: Memory, train: bool) -> jax.Array:  # [B, T] -> [B, T, V]
        x = self._embedded("target", target, train=train)
        return self._logits(self.decoder(x, memory.blocks, memory_mask=memory.mask, train=train))

    def _partly_own(self, target: jax.Array, logits: jax.Array, sampling: float | jax.Array) -> jax.Array:  # -> [B, T]
        said = jax.random.categorical(self.make_rng("sampling"), logits[:, :-1]).astype(target.dtype)
        own = jax.random.bernoulli(self.make_rng("sampling"), sampling, said.shape)
        return jnp.concatenate([target[:, :1], jnp.where(own, said, target[:, 1:])], 1)

    def align(self, pairs: Pairs, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns the logits of each next token [B, T, V], and the share of each place of the source [B, H, T, S].

        The shares are those of the heads of the last block. For the arguments see `__call__`.
        """
        model, variables = self.unbind()
        rngs = {"dropout": self.make_rng("dropout")} if self.has_rng("dropout") else None
        logits, maps = _with_maps(model, variables, pairs, train=train, rngs=rngs)
        return logits, maps["decoder_source"][:, -1]

    def _embedded(
        self, part: str, tokens: jax.Array, first: jax.Array | int = 0, *, train: bool
    ) -> jax.Array:  # [B, N] -> [B, N, D]
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(f"the {part} has {length} tokens, more than max_length={self.max_length}")
        embed = self.embed if self.shared == "all" else getattr(self, f"{part}_embed")
        places = jax.lax.dynamic_slice_in_dim(self._positions(part), first, length)
        x = embed(tokens) * self.dim**0.5 + places.astype(self.dtype)
        return self.drop(x, deterministic=not train)

    def _positions(self, part: str) -> jax.Array:  # -> [max_length, D]
        if self.positions == "learned":
            return self.learnt[part]
        return jnp.asarray(self.sines(), jnp.promote_types(self.dtype, jnp.float32))

    def sines(self) -> np.ndarray:  # -> [max_length, D]
        """Returns the positions of sines and cosines, float64."""
        return sine_cosine_1d(self.max_length, self.dim, halves=self.positions == "sine_cosine_halves")

    def _logits(self, x: jax.Array) -> jax.Array:  # [..., D] -> [..., V]
        if self.shared == "none":
            logits = self.head(x)
        else:
            logits = (self.embed if self.shared == "all" else self.target_embed).attend(x)
        return logits + self.bias.astype(logits.dtype) if self.logits_bias else logits

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers beside a `torch.nn.Transformer`, and, where the model is one, in a MarianMTModel.

        The former is of a PyTorch module that calls it `transformer`, and the other layers as this one does.
        """
        names = {"torch": transformer_names.TORCH_WITH_HEAD if self.shared == "none" else transformer_names.TORCH}
        if self.positions == "sine_cosine_halves" and self.logits_bias and not (self.norm_first or self.final_norm):
            names["transformers"] = transformer_names.marian(self.shared, self.sines())
        return names

    def example_input(self) -> Pairs:
        """Returns the shapes and types of one pair of two tokens each."""
        tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
        return Pairs(tokens, jax.ShapeDtypeStruct((1,), jnp.int32), tokens)


def attention_maps(model: Transformer, variables: Any, pairs: Pairs) -> dict[str, jax.Array]:
    """Returns the weights of attention of all blocks and heads.

    Args:
        model, variables: as `init` gives them.
        pairs: see `Transformer.__call__`.

    Returns:
        "encoder" [B, L, H, S, S], "decoder" [B, L, H, T, T], and "decoder_source" [B, L, H, T, S].
    """
    return _with_maps(model, variables, pairs, train=False)[1]


def _with_maps(
    model: Transformer, variables: Any, pairs: Pairs, **options: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    logits, shown = model.apply(variables, pairs, mutable=["intermediates"], **options)
    shown = shown["intermediates"]
    layers = {"encoder": "attention", "decoder": "attention", "decoder_source": "cross_attention"}
    blocks = {name: shown[name.partition("_")[0]] for name in layers}
    of = lambda name, i: blocks[name][f"block{i}"][layers[name]]["weights"][0]
    return logits, {name: jnp.stack([of(name, i) for i in range(1, model.depth + 1)], 1) for name in layers}


base = partial(Transformer)
big = partial(Transformer, dim=1024, hidden=4096, num_heads=16, dropout_rate=0.3)
small = partial(
    Transformer, dim=128, depth=2, num_heads=4, hidden=512, max_length=128, norm_first=True, final_norm=True
)
marian = partial(Transformer, positions="sine_cosine_halves", logits_bias=True, activation=nn.swish)
