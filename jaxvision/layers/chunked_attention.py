"""Attention whose memory grows with the length and not with its square, on every platform.

Rabe and Staats 2021, "Self-attention does not need O(n^2) memory", https://arxiv.org/abs/2112.05682. Shapes as in
`jaxvision.layers.attention`; R queries and C keys of a chunk.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.layers.checks import check_attention

Parts = dict[str, jax.Array]


def chunked_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    causal: bool = False,
    size: int = 256,
) -> jax.Array:
    """Returns what `dot_product_attention` does, [B, T, H, d], from the scores of R queries and C keys at a time.

    The softmax over all keys is built up from chunk to chunk. The backward pass computes each chunk anew, its scores
    twice: once to go through the chunks of keys again, once for the gradients of each.

    Args:
        query, key, value, mask, bias, causal: see `jaxvision.layers.attention.dot_product_attention`.
        size: most queries and keys of a chunk, R and C (the paper has 1024 and 4096 on a TPU).

    Raises:
        TypeError: the mask is not of bool, or not of four axes.
        ValueError: shapes that do not fit.
    """
    check_attention(query, key, value, mask, bias)
    if 0 in (query.size, key.size):
        return jnp.zeros_like(query)
    # Places count from 1: those that fill up the last chunk are 0.
    queries = {"query": query.transpose(0, 2, 1, 3), "row": 1 + jnp.arange(query.shape[1])[:, None]}
    keys = {"key": key.transpose(0, 2, 3, 1), "value": value.transpose(0, 2, 3, 1)}
    keys["column"] = 1 + jnp.arange(key.shape[1])[None]
    pairs = {name: x for name, x in (("mask", mask), ("bias", bias)) if x is not None}

    def attend(_: None, part: Parts) -> tuple[None, jax.Array]:  # -> [B, H, R, d]
        among = keys | {name: part[name] for name in pairs}
        step = lambda sums, chunk: (_add(sums, part | chunk, causal), None)
        (_, total, values), _ = _scan(step, _nothing(part["query"]), among, -1, size)
        return None, (values / jnp.where(total == 0, 1, total)).astype(query.dtype)

    _, attended = _scan(attend, None, queries | pairs, -2, size)  # [T / R, B, H, R, d]
    attended = attended.transpose(1, 0, 3, 2, 4)
    return attended.reshape(len(query), -1, *query.shape[2:])[:, : query.shape[1]]


def _nothing(query: jax.Array) -> tuple[jax.Array, ...]:
    wide = query.astype(jnp.promote_types(query.dtype, jnp.float32))
    none = jnp.zeros_like(wide[..., :1])
    return none + jnp.finfo(wide.dtype).min, none, jnp.zeros_like(wide)


def _add(sums: tuple[jax.Array, ...], part: Parts, causal: bool) -> tuple[jax.Array, ...]:
    """Adds a chunk of keys to the highest score of each query, the sum of its weights, and that of its values."""
    highest, total, values = sums  # [B, H, R, 1], [B, H, R, 1], [B, H, R, d]
    wide, lowest = highest.dtype, jnp.finfo(highest.dtype).min
    scores = jnp.matmul(part["query"], part["key"], preferred_element_type=wide) * part["query"].shape[-1] ** -0.5
    scores = scores + part["bias"].astype(wide) if "bias" in part else scores
    seen = (part["column"] > 0) & (part["column"] <= part["row"]) if causal else part["column"] > 0
    seen = seen & part["mask"] if "mask" in part else seen
    scores = jnp.where(seen, scores, lowest)
    # The result does not depend on the highest score, so no gradient goes through it.
    new = lax.stop_gradient(jnp.maximum(highest, scores.max(-1, keepdims=True)))
    weights, faded = jnp.where(seen, jnp.exp(scores - new), 0), jnp.exp(highest - new)
    of_chunk = jnp.matmul(weights.astype(part["value"].dtype), part["value"].mT, preferred_element_type=wide)
    return new, total * faded + weights.sum(-1, keepdims=True), values * faded + of_chunk


def _scan(step: Callable, carry: Any, parts: Parts, axis: int, size: int) -> tuple[Any, Any]:
    """Scans chunks of arrays along an axis; an array with one place there is whole in each step."""
    length = max(x.shape[axis] for x in parts.values())
    cut = {name: _chunks(x, axis, min(size, length)) for name, x in parts.items() if x.shape[axis] > 1}
    whole = {name: x for name, x in parts.items() if name not in cut}
    again = jax.checkpoint(lambda carry, chunk: step(carry, whole | chunk), prevent_cse=False)
    return lax.scan(again, carry, cut, length=-(-length // size))


def _chunks(x: jax.Array, axis: int, size: int) -> jax.Array:  # [..., N, ...] -> [N / size, ..., size, ...]
    axis %= x.ndim
    filled = jnp.pad(x, [(0, -x.shape[n] % size if n == axis else 0) for n in range(x.ndim)])
    shape = (*x.shape[:axis], -1, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(filled.reshape(shape), axis, 0)
