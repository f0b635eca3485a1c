"""Attention by chunks, against the loop in NumPy, that of whole matrices, and the memory of that."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers.attention import MultiHeadAttention, dot_product_attention
from jaxvision.layers.chunked_attention import chunked_attention
from tests.test_attention import KEY, MASK, QUERY, QUICK, VALUE, loop

RANDOM = np.random.RandomState(1)
CASES = {
    "all seen": {},
    "masks of heads": {"mask": MASK, "bias": RANDOM.randn(1, 3, 1, 7)},
    "padding": {"mask": np.arange(7) < np.array([7, 4])[:, None, None, None], "bias": RANDOM.randn(2, 1, 5, 7)},
    "queries that see nothing": {"mask": np.arange(5)[:, None] < np.array([3, 5])[:, None, None, None]},
    "causal": {"causal": True, "mask": MASK[..., :5], "bias": RANDOM.randn(1, 3, 5, 1)},
}


@pytest.mark.parametrize("case", CASES)
def test_chunks_are_the_loop_and_have_the_gradients_of_whole_matrices(case):
    """Of 5 queries and 7 keys, 2 at a time."""
    given = {"mask": None, "causal": False, **CASES[case]}
    mask, causal = given.pop("mask"), given.pop("causal")
    size = 5 if causal else 7
    arrays = {"query": QUERY, "key": KEY[:, :size], "value": VALUE[:, :size], **given}
    pulled = RANDOM.randn(*QUERY.shape)

    @partial(jax.jit, static_argnums=0, compiler_options=QUICK)
    def with_gradients(attention, arrays):
        output, pull = jax.vjp(lambda arrays: attention(**arrays, mask=mask, causal=causal), arrays)
        return output, *pull(pulled)

    with jax.enable_x64(True):
        found, gradients = with_gradients(partial(chunked_attention, size=2), arrays)
        _, expected = with_gradients(dot_product_attention, arrays)
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13)
    before = np.arange(size) <= np.arange(5)[:, None] if causal else True
    seen = np.broadcast_to(before if mask is None else before & mask, (2, 3, 5, size))
    close(
        found, loop(*(arrays[name] for name in ("query", "key", "value")), seen, given.get("bias", np.zeros([1] * 4)))
    )
    jax.tree.map(close, gradients, expected)


def test_softmax_of_bfloat16_is_of_float32():
    arrays = [x.astype(jnp.bfloat16) for x in (4 * QUERY, KEY, VALUE)]
    found = jax.jit(partial(chunked_attention, size=3), compiler_options=QUICK)(*arrays)
    expected = jax.jit(dot_product_attention)(*(x.astype(np.float32) for x in arrays))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), expected, rtol=2.0**-7, atol=2.0**-7)


def test_a_layer_takes_it():
    x = jnp.asarray(RANDOM.randn(2, 5, 12))
    whole, chunked = (MultiHeadAttention(3, causal=True, implementation=name) for name in ("xla", "chunked"))

    @partial(jax.jit, compiler_options=QUICK)
    def run():
        expected, variables = whole.init_with_output(jax.random.key(0), x, train=False)
        return chunked.apply(variables, x, train=False), expected

    np.testing.assert_allclose(*run(), rtol=1e-5, atol=1e-6)


def test_four_times_the_length_takes_four_times_the_memory_and_not_sixteen():
    def memory(implementation, length):  # bytes, of the gradient
        attend = partial(dot_product_attention, implementation=implementation)
        gradient = jax.grad(lambda *x: attend(*x).sum(), (0, 1, 2))
        x = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
        return jax.jit(gradient).lower(x, x, x).compile(QUICK).memory_analysis().temp_size_in_bytes

    whole, chunked = ([memory(name, length) for length in (1024, 4096)] for name in ("xla", "chunked"))
    assert whole[1] > 12 * whole[0]
    assert chunked[1] < 5 * chunked[0]
    assert chunked[1] < whole[1] / 20
