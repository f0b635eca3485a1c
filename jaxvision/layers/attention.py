"""Attention: each query gets a mean of values, weighted by how well its key fits.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, "Attention is all you need",
https://arxiv.org/abs/1706.03762, section 3.2. Shapes: B batch, T queries, S keys and values, H heads, d dimension of a
head, D = H d.
"""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import Initializer
from jax import lax
from jax.extend.backend import get_backend
from jax.typing import DTypeLike

from jaxvision.layers.checks import check_attention, check_counts, check_rates
from jaxvision.layers.chunked_attention import chunked_attention
from jaxvision.layers.embedding import rotate

Implementation = Literal["xla", "chunked", "cudnn"]


def causal_mask(length: int, size: int | None = None, first: int | jax.Array = 0) -> jax.Array:  # -> [1, 1, T, S]
    """Lets each token see itself and those before it.

    Args:
        length: T.
        size: S, the keys, of which the first stands at place 0; None for T.
        first: where the first query stands.
    """
    queries = first + jnp.arange(length)[:, None]
    return (jnp.arange(length if size is None else size) <= queries)[None, None]


def padding_mask(lengths: jax.Array, size: int) -> jax.Array:  # [B] -> [B, 1, 1, S]
    """Hides what follows the first `lengths` of `size` keys."""
    return (jnp.arange(size) < lengths[:, None])[:, None, None]


def dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    causal: bool = False,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Returns the means of values, [B, T, H, d]; of a query that sees no key, zeros.

    "xla" is two matrix products of [B, H] matrices in a row in memory, the softmax between them in float32 or wider. On
    one core of an AMD EPYC, at the shapes of ViT-S, it is 1.7 times as fast as `jax.nn.dot_product_attention`, and its
    gradient 2.6 times. "chunked" has no more of these matrices in memory than a part, on every platform (see
    `jaxvision.layers.chunked_attention`): for long sequences. "cudnn" is NVIDIA's flash attention, whose memory grows
    with T and not with T S either.

    Args:
        query: [B, T, H, d].
        key, value: [B, S, H, d].
        mask: bool, to be broadcast to [B, H, T, S]; whether a query sees a key.
        bias: is added to the scores before the softmax, [B, H, T, S] or 1 in place of them; -inf hides a key.
        causal: whether a query sees no key after its own place; then S is T.
        implementation: None takes "cudnn" on NVIDIA's GPUs where it can do it (see `cudnn_can`), elsewhere "xla".

    Raises:
        TypeError: the mask is not of bool, or not of four axes.
        ValueError: an unknown implementation, shapes that do not fit, or a causal one of other keys than queries.
    """
    if implementation not in (None, "xla", "chunked", "cudnn"):
        raise ValueError(f"implementation must be xla, chunked, cudnn or None, got {implementation!r}")
    check_attention(query, key, value, mask, bias)
    if causal and query.shape[1] != key.shape[1]:
        raise ValueError(f"causal attention is of a sequence upon itself, got {query.shape} and {key.shape}")
    if implementation == "chunked":
        return chunked_attention(query, key, value, mask, bias, causal=causal)
    by_cudnn = partial(_by_cudnn, mask=mask, bias=bias, causal=causal)
    if implementation == "cudnn":
        return by_cudnn(query, key, value)
    seen = only_before(mask, query.shape[1]) if causal else mask
    by_xla = lambda query, key, value: weighted_values(attention_weights(query, key, seen, bias), value)
    chosen = implementation is None and "cuda" in get_backend().platform_version
    if chosen and cudnn_can(query, mask, bias):
        return lax.platform_dependent(query, key, value, cuda=by_cudnn, default=by_xla)
    return by_xla(query, key, value)


def only_before(mask: jax.Array | None, length: int) -> jax.Array:  # [B, H, T, T]
    """Hides from each query what is after it too."""
    return causal_mask(length) if mask is None else mask & causal_mask(length)


def cudnn_can(query: jax.Array, mask: jax.Array | None, bias: jax.Array | None = None) -> bool:  # query: [B, T, H, d]
    """Tells whether cuDNN's flash attention takes a type and shape on every GPU that has it, whatever the lengths."""
    dim = query.shape[-1]
    return query.dtype in (jnp.bfloat16, jnp.float16) and dim % 8 == 0 and dim <= 128 and mask is None and bias is None


def attention_weights(
    query: jax.Array, key: jax.Array, mask: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    """Returns how much of each value a query gets, in the type of the query.

    Args:
        query, key, mask, bias: see `dot_product_attention`.

    Returns:
        [B, H, T, S], which sum to 1 over S, or are all zero for a query that sees no key.
    """
    check_attention(query, key, key, mask, bias)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    query, key = (x.transpose(0, 2, 1, 3) for x in (query, key))
    scores = jnp.matmul(query, key.swapaxes(-1, -2), preferred_element_type=wide) * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias.astype(wide)
        return _softmax_or_zeros(scores if mask is None else jnp.where(mask, scores, -jnp.inf)).astype(query.dtype)
    if mask is None:
        return jax.nn.softmax(scores).astype(query.dtype)
    # The lowest finite number, not -inf: its exponential is 0 too, and where all are masked nothing is NaN.
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(wide).min))
    return jnp.where(mask, weights, 0).astype(query.dtype)


def _softmax_or_zeros(scores: jax.Array) -> jax.Array:
    """Returns the softmax over the last axis; zeros where all scores are -inf, as a bias can make them."""
    lowest = jnp.finfo(scores.dtype).min
    highest = lax.stop_gradient(scores.max(-1, keepdims=True, initial=lowest))
    weights = jnp.exp(scores - highest)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


def weighted_values(weights: jax.Array, value: jax.Array) -> jax.Array:  # [B, H, T, S], [B, S, H, d] -> [B, T, H, d]
    """Returns the sum of the values of each query."""
    return jnp.matmul(weights, value.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


def _by_cudnn(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    bias: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    options = {"mask": mask, "is_causal": causal, "implementation": "cudnn"}
    attended = jax.nn.dot_product_attention(query, key, value, bias, **options)
    if mask is None:
        return attended
    seen = only_before(mask, query.shape[1]) if causal else mask
    return jnp.where(seen.any(-1).swapaxes(1, 2)[..., None], attended, 0)


class KeysValues(NamedTuple):
    """What is found, and what it is found by: of a sequence that is looked at, or of the tokens so far (a cache).

    Attributes:
        keys: [B, S, H, d].
        values: [B, S, H, d].
    """

    keys: jax.Array
    values: jax.Array


class MultiHeadAttention(nn.Module):
    """Attention in several heads, between linear layers: of a sequence upon itself, or upon another.

    The weights of attention, [B, H, T, S], are sown as `weights` for those who name "intermediates" as mutable.

    Attributes:
        num_heads: H.
        dropout_rate: share of the weights of attention that is dropped in training.
        qkv_init: draws the weights [D, 3 D] of the layers that make queries, keys and values, in this order.
        kernel_init: draws the weights of the layer after attention.
        bias_init: draws the biases of both.
        implementation: see `dot_product_attention`.
        causal: whether a token of a sequence sees itself and those before it alone.
        rotary: whether keys and queries are turned by their place (see `jaxvision.layers.embedding.rotate`).
        dtype: of the computation; parameters are float32, and softmax is of float32 or wider.
    """

    num_heads: int
    dropout_rate: float = 0.0
    qkv_init: Initializer = nn.initializers.xavier_uniform()
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros
    implementation: Implementation | None = None
    causal: bool = False
    rotary: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers.

        Raises:
            ValueError: fields that cannot be.
        """
        check_counts(num_heads=self.num_heads)
        check_rates(dropout_rate=self.dropout_rate)
        self.qkv = _Projections(3, self.qkv_init, self.bias_init, self.dtype)
        self.projection = _Projections(1, self.kernel_init, self.bias_init, self.dtype)
        self.drop = nn.Dropout(self.dropout_rate)

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Returns [B, T, D].

        Args:
            x: [B, T, D], whose queries are asked.
            context: [B, S, D], whose keys and values answer; None for x itself.
            mask, bias: see `dot_product_attention`.
            train: whether to drop weights.

        Raises:
            ValueError: shapes that do not fit, the heads do not divide D, the sequences differ in D, a causal or rotary
                layer is given another sequence, or an implementation is to drop weights that it does not hold.
        """
        if context is not None:
            if context.shape[-1] != x.shape[-1]:
                raise ValueError(f"both sequences must have one dimension, got {x.shape} and {context.shape}")
            return self.recall(x, self.remember(context), mask=mask, bias=bias, train=train)
        query, key, value = self._heads(self.qkv(x))
        query, key = self._turned(query, key, jnp.arange(x.shape[1]))
        return self._attend(query, KeysValues(key, value), mask, bias, self.causal, train)

    def remember(self, context: jax.Array) -> KeysValues:  # [B, S, D]
        """Returns keys and values of a sequence, for `recall`."""
        if self.causal or self.rotary:
            raise ValueError("causal and rotary attention are of one sequence upon itself, not of another")
        return KeysValues(*self._heads(self.qkv(context, 1, 3)))

    def recall(
        self,
        x: jax.Array,
        memory: KeysValues,
        *,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:  # [B, T, D]
        """Returns what x, [B, T, D], gets of another sequence, as `remember` gives that."""
        (query,) = self._heads(self.qkv(x, 0, 1))
        return self._attend(query, memory, mask, bias, False, train)

    def extend(
        self, x: jax.Array, cache: KeysValues, first: jax.Array, *, bias: jax.Array | None = None, train: bool
    ) -> tuple[jax.Array, KeysValues]:
        """Goes on with sequences, of which the keys and values so far are known: gives what the whole would there.

        Args:
            x: [B, T, D], the next tokens.
            cache: of S tokens at most, those from `first` on not written yet.
            first: int [], where the first of x stands; first + T is at most S.
            bias: see `dot_product_attention`.
            train: whether to drop weights.

        Returns:
            [B, T, D], and the cache with the new tokens.

        Raises:
            ValueError: the layer is not causal: earlier tokens would have to see the new ones.
        """
        if not self.causal:
            raise ValueError("only causal attention can go on with a sequence: causal=False")
        query, key, value = self._heads(self.qkv(x))
        query, key = self._turned(query, key, first + jnp.arange(x.shape[1]))
        write = lambda old, new: lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, 1)
        cache = jax.tree.map(write, cache, KeysValues(key, value))
        mask = causal_mask(x.shape[1], cache.keys.shape[1], first)
        return self._attend(query, cache, mask, bias, False, train), cache

    def _heads(self, projections: list[jax.Array]) -> list[jax.Array]:  # [B, N, D] each -> [B, N, H, d] each
        dim = projections[0].shape[-1]
        if dim % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide the dimension {dim}")
        return [part.reshape(*part.shape[:2], self.num_heads, -1) for part in projections]

    def _turned(self, query: jax.Array, key: jax.Array, places: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (rotate(query, places), rotate(key, places)) if self.rotary else (query, key)

    def _attend(
        self,
        query: jax.Array,
        memory: KeysValues,
        mask: jax.Array | None,
        bias: jax.Array | None,
        causal: bool,
        train: bool,
    ) -> jax.Array:  # [B, T, H, d] -> [B, T, D]
        drops = train and self.dropout_rate > 0
        if drops and self.implementation in ("chunked", "cudnn"):
            raise ValueError(
                f'implementation="{self.implementation}" drops no weights of attention, rate {self.dropout_rate}: '
                'use "xla"'
            )
        if drops or self.is_mutable_collection("intermediates"):
            seen = only_before(mask, query.shape[1]) if causal else mask
            weights = attention_weights(query, memory.keys, seen, bias)
            self.sow("intermediates", "weights", weights)
            attended = weighted_values(self.drop(weights, deterministic=not train), memory.values)
        else:
            options = {"bias": bias, "causal": causal, "implementation": self.implementation}
            attended = dot_product_attention(query, *memory, mask, **options)
        (output,) = self.projection(attended.reshape(*attended.shape[:2], -1))
        return output


class _Projections(nn.Module):
    """Linear layers to as many numbers as they are given, side by side: one matrix product gives any of them."""

    count: int
    kernel_init: Initializer
    bias_init: Initializer
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None) -> list[jax.Array]:  # [B, N, D]
        """Returns what the layers from `first` to before `last` give, [B, N, D] each."""
        if x.ndim != 3:
            raise ValueError(f"sequences must be [B, N, D], got {x.shape}")
        dim, last = x.shape[-1], last or self.count
        kernel = self.param("kernel", self.kernel_init, (dim, self.count * dim))
        bias = self.param("bias", self.bias_init, (self.count * dim,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        part = slice(first * dim, last * dim)
        return jnp.split(x @ kernel[:, part] + bias[part], last - first, -1)
