"""GPT: a Transformer that tells, after each token of a text, how likely each is to be the next.

Radford, Wu, Child, Luan, Amodei and Sutskever 2019, "Language models are unsupervised multitask learners" (GPT-2),
whose sizes are the variants; https://github.com/openai/gpt-2. Shapes: B batch, T tokens, S tokens that a cache has room
for, V vocabulary, D dimension, H heads, L blocks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import normal
from jax.typing import DTypeLike

from jaxvision.layers.attention import Implementation, MultiHeadAttention
from jaxvision.layers.checks import check_counts, check_rates
from jaxvision.layers.embedding import RelativeBias, sine_cosine_1d
from jaxvision.layers.norm import layer_norm
from jaxvision.layers.stack import block_names
from jaxvision.layers.transformer import Cache, Decoder, DecoderBlock, Mlp, empty_cache
from jaxvision.weights.names import Line

POSITIONS = ("learned", "sine_cosine", "rotary", "relative", "none")


class GPT(nn.Module):
    """Tokens in, blocks of attention upon what is before, logits of the next token out.

    Attributes:
        vocabulary_size: V; tokens are 0 to V - 1. Their embeddings are the weights that give logits too.
        dim: D.
        depth: L.
        num_heads: H.
        max_length: most tokens of a text.
        positions: "learned" as in GPT-2 are added to embeddings, "sine_cosine" to embeddings times the root of D, as
            in https://arxiv.org/abs/1706.03762; "rotary" turns queries and keys in every block, see
            `jaxvision.layers.embedding.rotate`; "relative" adds to the scores of every block, see `RelativeBias` there;
            with "none" what is before a token has no order but what the blocks make of it.
        dropout_rate: share dropped in training of embeddings with their positions, of what branches give, and between
            the layers of perceptrons (which GPT-2 does not drop).
        attention_dropout_rate: share of the weights of attention dropped in training.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks are the steps of one loop, see `jaxvision.layers.transformer.Decoder`.
        epsilon: of the normalisations.
        implementation: of attention, see `jaxvision.layers.attention.dot_product_attention`.
        dtype: of the computation; parameters are float32, and so are softmax and the sums of the normalisations.
    """

    vocabulary_size: int
    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    max_length: int = 1024
    positions: Literal["learned", "sine_cosine", "rotary", "relative", "none"] = "learned"
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
        if self.positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {self.positions!r}")
        check_counts(dim=self.dim, depth=self.depth, num_heads=self.num_heads)
        check_rates(dropout_rate=self.dropout_rate, attention_dropout_rate=self.attention_dropout_rate)
        if self.dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide dim={self.dim}")
        deviation = self.dim**-0.5 if self.positions == "sine_cosine" else 0.02
        self.embed = nn.Embed(self.vocabulary_size, self.dim, self.dtype, embedding_init=normal(deviation))
        if self.positions == "learned":
            self.learnt = self.param("positions", normal(0.01), (self.max_length, self.dim))
        if self.positions == "relative":
            self.relative = RelativeBias(self.num_heads, causal=True)
        norm = partial(layer_norm, epsilon=self.epsilon, dtype=self.dtype)
        self.decoder = Decoder(self.depth, self._block(norm), norm, self.remat, self.scan)
        self.drop = nn.Dropout(self.dropout_rate)

    def stacks(self) -> dict[str, Sequence[str]]:
        """Returns the blocks that are run as a loop, by the path of their stack."""
        return {"decoder/blocks": block_names(self.depth)} if self.scan else {}

    def _block(self, norm: Callable[..., nn.Module]) -> Callable[..., DecoderBlock]:
        draw, draw_last = normal(0.02), normal(0.02 / (2 * self.depth) ** 0.5)
        attention = partial(
            MultiHeadAttention,
            self.num_heads,
            self.attention_dropout_rate,
            qkv_init=draw,
            kernel_init=draw_last,
            implementation=self.implementation,
            causal=True,
            rotary=self.positions == "rotary",
            dtype=self.dtype,
        )
        inits = {"kernel_init": draw, "last_init": draw_last}
        mlp = partial(Mlp, 4 * self.dim, self.dropout_rate, nn.gelu, **inits, dtype=self.dtype)
        return partial(DecoderBlock, attention, mlp, norm, dropout_rate=self.dropout_rate)

    def __call__(
        self, tokens: jax.Array, state: Cache | None = None, *, train: bool
    ) -> tuple[jax.Array, Cache | None]:  # [B, T] -> [B, T, V]
        """Returns the logits of each next token, and what is remembered after the last.

        Args:
            tokens: int [B, T].
            state: of the tokens before, as it is returned, or `initial_state`; None for texts from their beginning, of
                which nothing is remembered. After `max_length` tokens logits are NaN.
            train: whether to drop activations.

        Raises:
            ValueError: shapes that do not fit, or more tokens than `max_length`.
        """
        if tokens.ndim != 2 or tokens.shape[1] == 0:
            raise ValueError(f"tokens must be [B, T], one token or more, got {tokens.shape}")
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"the text has {tokens.shape[1]} tokens, more than max_length={self.max_length}")
        places = (0 if state is None else state.length[0]) + jnp.arange(tokens.shape[1])
        x = self.drop(self._placed(self.embed(tokens), places), deterministic=not train)
        if state is None:
            x = self.decoder(x, bias=self._bias(places, places), train=train)
        else:
            bias = self._bias(places, jnp.arange(state.blocks[0].keys.shape[1]))
            x, state = self.decoder.extend(x, state, bias=bias, train=train)
        return self.embed.attend(x), state

    def _placed(self, x: jax.Array, places: jax.Array) -> jax.Array:  # [B, T, D], [T]
        if self.positions not in ("learned", "sine_cosine"):
            return x
        wide = jnp.promote_types(self.dtype, jnp.float32)
        if self.positions == "sine_cosine":
            x, table = x * self.dim**0.5, sine_cosine_1d(self.max_length, self.dim)
        else:
            table = self.learnt
        return x + jnp.take(jnp.asarray(table, wide), places, 0, mode="clip").astype(x.dtype)

    def _bias(self, queries: jax.Array, keys: jax.Array) -> jax.Array | None:  # [T], [S] -> [1, H, T, S]
        return self.relative(queries, keys) if self.positions == "relative" else None

    def initial_state(self, batch_size: int) -> Cache:
        """Returns what is remembered before the first token of each text: room for `max_length` tokens."""
        shape = (batch_size, self.max_length, self.num_heads, self.dim // self.num_heads)
        return empty_cache(self.depth, shape, self.dtype)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in transformers' GPT2LMHeadModel and GPT2Model, the published; of GPT-2 alone."""
        if self.positions != "learned":
            return {}
        with_head, published = _names("transformer."), _names("")
        with_head["embed/embedding"] = Line("transformer.wte.weight", copies=("lm_head.weight",))
        for i in range(self.depth):  # causal masks, which published files hold
            published[f"mask{i}"] = Line("", optional=(f"h.{i}.attn.bias", f"h.{i}.attn.masked_bias"))
        return {"transformers": with_head, "transformers_published": published}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of one text of two tokens."""
        return jax.ShapeDtypeStruct((1, 2), jnp.int32)


def _names(prefix: str) -> dict[str, Any]:
    block = f"{prefix}h.{{i-1}}"
    linear = lambda name: Line(f"{block}.{name}", transform="untransposed")
    return {
        "embed/embedding": f"{prefix}wte.weight",
        "positions": f"{prefix}wpe.weight",
        "decoder/block{i}/norm{k}": f"{block}.ln_{{k}}",
        "decoder/block{i}/attention/qkv": linear("attn.c_attn"),
        "decoder/block{i}/attention/projection": linear("attn.c_proj"),
        "decoder/block{i}/mlp/linear1": linear("mlp.c_fc"),
        "decoder/block{i}/mlp/linear2": linear("mlp.c_proj"),
        "decoder/norm": f"{prefix}ln_f",
    }


gpt2 = partial(GPT, 50257)
gpt2_medium = partial(GPT, 50257, dim=1024, depth=24, num_heads=16)
gpt2_large = partial(GPT, 50257, dim=1280, depth=36, num_heads=20)
gpt2_xl = partial(GPT, 50257, dim=1600, depth=48, num_heads=25)
