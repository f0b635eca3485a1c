"""What Transformers are made of beside attention.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, "Attention is all you need",
https://arxiv.org/abs/1706.03762. Shapes: B batch, N tokens, S tokens that are looked at, D dimension, H heads,
d dimension of a head.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax import lax
from jax.typing import DTypeLike

from jaxvision.layers.attention import KeysValues
from jaxvision.layers.regularize import StochasticDepth
from jaxvision.layers.stack import block_names, check_not_stacked, stack_of, stacked


class Mlp(nn.Module):
    """Two linear layers upon each token by itself, with an activation between.

    Attributes:
        hidden: outputs of the first layer; the second gives as many as the first takes.
        dropout_rate: share of what each layer gives that is dropped in training.
        activation: between the layers; unless told otherwise the exact GELU, as PyTorch's.
        kernel_init, bias_init: draw weights and biases of both layers.
        last_init: draws the weights of the second layer; None for `kernel_init`.
        dtype: of the computation; parameters are float32.
    """

    hidden: int
    dropout_rate: float = 0.0
    activation: Callable[[jax.Array], jax.Array] = partial(nn.gelu, approximate=False)
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros
    last_init: Initializer | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, ..., D] -> [B, ..., D]
        """Applies the two."""
        linear = partial(nn.Dense, dtype=self.dtype, bias_init=self.bias_init)
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        y = linear(self.hidden, kernel_init=self.kernel_init, name="linear1")(x)
        last_init = self.last_init or self.kernel_init
        return drop(linear(x.shape[-1], kernel_init=last_init, name="linear2")(drop(self.activation(y))))


class EncoderBlock(nn.Module):
    """Attention of a sequence upon itself, then two layers for each token, each added to what it was given.

    Attributes:
        attention, mlp, norm: constructors of the layers, with type and initial values bound.
        dropout_rate: share of what attention gives that is dropped in training.
        stochastic_depth_rate: see `StochasticDepth`.
        norm_first: whether what a branch is given is normalised, or, as in the paper, the sum.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dropout_rate: float = 0.0
    stochastic_depth_rate: float | jax.Array = 0.0
    norm_first: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None, train: bool) -> jax.Array:  # [B, N, D]
        """Applies the block; `mask` is as `dot_product_attention` takes it."""
        attention, mlp = self.attention(name="attention"), self.mlp(name="mlp")
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        x = self._residual(x, lambda y: drop(attention(y, mask=mask, train=train)), "norm1", train)
        return self._residual(x, partial(mlp, train=train), "norm2", train)

    def _residual(self, x: jax.Array, branch: Callable[[jax.Array], jax.Array], norm: str, train: bool) -> jax.Array:
        norm, leave_out = self.norm(name=norm), StochasticDepth(train, self.stochastic_depth_rate)
        if self.norm_first:
            return x + leave_out(branch(norm(x)))
        return norm(x + leave_out(branch(x)))


class Encoder(nn.Module):
    """Blocks, and the normalisation after them.

    Attributes:
        depth: blocks.
        block: constructor of a block.
        norm: constructor of the normalisation after the last block; None for none.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks are the steps of one loop, so that the time of compiling does not grow with the depth.
            Variables are the same: their parameters are stacked when the blocks are applied, or by `stack_blocks` once.
    """

    depth: int
    block: Callable[..., EncoderBlock]
    norm: Callable[..., nn.Module] | None = None
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None, train: bool) -> jax.Array:  # [B, N, D]
        """Applies the blocks; `mask` is as `dot_product_attention` takes it."""
        run = lambda block, x: block(x, mask=mask, train=train)
        if _scans(self):
            x = _scanned(self, x, [()] * self.depth, mask=mask, train=train)
        else:
            check_not_stacked(self, "blocks")
            for i in range(1, self.depth + 1):
                x = (nn.remat(run) if self.remat else run)(self.block(name=f"block{i}"), x)
        return self.norm(name="norm")(x) if self.norm else x


def _scans(stack: "Encoder | Decoder") -> bool:
    """Tells whether blocks are scanned: those that have their parameters, and nothing to show but what they give."""
    return stack.scan and not (stack.is_initializing() or stack.is_mutable_collection("intermediates"))


def _scanned(stack: "Encoder | Decoder", x: jax.Array, others: Sequence[tuple[Any, ...]], **options: Any) -> jax.Array:
    """Applies the blocks of a stack as steps of a loop, each to x and what of `others` is its own."""
    block = stack.block(parent=None)
    drops = options["train"] and stack.has_rng("dropout")
    keys = jax.random.split(stack.make_rng("dropout"), stack.depth) if drops else None

    def step(x, at):
        params, other, key = at
        rngs = {"dropout": key} if drops else None
        return block.apply({"params": params}, x, *other, rngs=rngs, **options), None

    steps = _parameters(stack), stacked(others), keys
    return lax.scan(jax.checkpoint(step) if stack.remat else step, x, steps)[0]


def _parameters(stack: "Encoder | Decoder") -> Any:
    """Returns the parameters of all blocks, stacked."""
    return stack_of(stack.variables["params"], "blocks", block_names(stack.depth))


class DecoderBlock(nn.Module):
    """Attention of a sequence upon what is before, then upon another, then two layers for each token.

    Attributes:
        attention: constructor of the first, which must be causal.
        mlp, norm: constructors of the layers, with type and initial values bound.
        cross_attention: constructor of attention upon another sequence; None for a block that sees none.
        dropout_rate: share of what attention gives that is dropped in training.
        norm_first: whether what a branch is given is normalised, or, as in the paper, the sum.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    cross_attention: Callable[..., nn.Module] | None = None
    dropout_rate: float = 0.0
    norm_first: bool = True

    def setup(self):
        """Makes the layers."""
        self.upon_itself = self.attention(name="attention")
        if self.cross_attention is not None:
            self.upon_memory = self.cross_attention(name="cross_attention")
        self.of_each = self.mlp(name="mlp")
        self.norms = [self.norm(name=f"norm{k}") for k in range(1, 3 + (self.cross_attention is not None))]
        self.drop = nn.Dropout(self.dropout_rate)

    def remember(self, context: jax.Array) -> KeysValues | None:  # [B, S, D]
        """Returns keys and values of another sequence, if the block sees one."""
        return None if self.cross_attention is None else self.upon_memory.remember(context)

    def __call__(
        self,
        x: jax.Array,
        memory: KeysValues | None = None,
        *,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:  # [B, N, D]
        """Applies the block to whole sequences.

        Args:
            x: [B, N, D].
            memory: of the other sequence, as `remember` gives it.
            memory_mask: of attention upon that, as `dot_product_attention` takes it.
            bias: of attention upon itself.
            train: whether to drop activations.

        Raises:
            ValueError: the block looks at another sequence, and there is no memory of one.
        """
        attended = self.upon_itself(self._given(0, x), bias=bias, train=train)
        return self._after_itself(self._sum(0, x, attended, train), memory, memory_mask, train)

    def extend(
        self,
        x: jax.Array,
        cache: KeysValues,
        first: jax.Array,
        memory: KeysValues | None = None,
        *,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the block to the next tokens, [R, N, D], of which those so far are in the cache.

        R is B, or B K: K sequences for each that is looked at. For the arguments see `__call__` and
        `MultiHeadAttention.extend`.
        """
        attended, cache = self.upon_itself.extend(self._given(0, x), cache, first, bias=bias, train=train)
        return self._after_itself(self._sum(0, x, attended, train), memory, memory_mask, train), cache

    def _after_itself(self, x: jax.Array, memory: KeysValues | None, mask: jax.Array | None, train: bool) -> jax.Array:
        if self.cross_attention is not None:
            if memory is None:
                raise ValueError("a block with cross_attention looks at another sequence: memory must be given")
            asked = self._given(1, x)
            asked = asked.reshape(len(memory.keys), -1, x.shape[-1])  # [B, K N, D]
            attended = self.upon_memory.recall(asked, memory, mask=mask, train=train).reshape(x.shape)
            x = self._sum(1, x, attended, train)
        y = self.of_each(self._given(-1, x), train=train)
        return x + y if self.norm_first else self.norms[-1](x + y)

    def _given(self, branch: int, x: jax.Array) -> jax.Array:
        return self.norms[branch](x) if self.norm_first else x

    def _sum(self, branch: int, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
        y = self.drop(y, deterministic=not train)
        return x + y if self.norm_first else self.norms[branch](x + y)


class Cache(NamedTuple):
    """What a decoder remembers of the tokens so far, the sequence first, as `jaxvision.ops.decoding` wants it.

    Attributes:
        length: int [R], tokens so far, of all sequences as many.
        blocks: for each block its keys and values, [R, S, H, d], zeros for tokens to come.
    """

    length: jax.Array
    blocks: tuple[KeysValues, ...]


def empty_cache(depth: int, shape: Sequence[int], dtype: DTypeLike) -> Cache:
    """Returns what is remembered before the first token: `shape` is that of the keys of a block, [R, S, H, d]."""
    zeros = jnp.zeros(shape, dtype)
    return Cache(jnp.zeros(shape[0], jnp.int32), (KeysValues(zeros, zeros),) * depth)


class Decoder(nn.Module):
    """Blocks, and the normalisation after them.

    Attributes:
        depth: blocks.
        block: constructor of a block.
        norm: constructor of the normalisation after the last block; None for none.
        remat: whether the backward pass computes blocks anew, in place of keeping what is in them.
        scan: whether the blocks are the steps of one loop, so that the time of compiling does not grow with the depth.
            Variables are the same: their parameters are stacked when the blocks are applied, or by `stack_blocks`
            once. `extend` has no loop: to stack parameters for each token would take longer than the token.
    """

    depth: int
    block: Callable[..., DecoderBlock]
    norm: Callable[..., nn.Module] | None = None
    remat: bool = False
    scan: bool = False

    def setup(self):
        """Makes the blocks."""
        self.blocks = [self.block(name=f"block{i}") for i in range(1, self.depth + 1)]
        self.last = self.norm(name="norm") if self.norm else lambda x: x

    def remember(self, context: jax.Array) -> tuple[KeysValues | None, ...]:  # [B, S, D]
        """Returns for each block keys and values of another sequence."""
        if not _scans(self):
            check_not_stacked(self, "blocks")
            return tuple(block.remember(context) for block in self.blocks)
        block = self.block(parent=None)
        remember = lambda params: block.apply({"params": params}, context, method="remember")
        memory = jax.vmap(remember)(_parameters(self))
        return tuple(jax.tree.map(itemgetter(i), memory) for i in range(self.depth))

    def __call__(
        self,
        x: jax.Array,
        memory: Sequence[KeysValues | None] = (),
        *,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:  # [B, N, D]
        """Applies the blocks to whole sequences; for the arguments see `DecoderBlock`."""

        def run(block, x, memory):
            return block(x, memory, memory_mask=memory_mask, bias=bias, train=train)

        memory = memory or [None] * self.depth
        if _scans(self):
            options = {"memory_mask": memory_mask, "bias": bias, "train": train}
            return self.last(_scanned(self, x, [(part,) for part in memory], **options))
        check_not_stacked(self, "blocks")
        for block, part in zip(self.blocks, memory, strict=True):
            x = (nn.remat(run) if self.remat else run)(block, x, part)
        return self.last(x)

    def extend(
        self,
        x: jax.Array,
        cache: Cache,
        memory: Sequence[KeysValues | None] = (),
        *,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> tuple[jax.Array, Cache]:
        """Applies the blocks to the next tokens, [R, N, D]; for the arguments see `DecoderBlock`.

        What would stand beyond the last place of the cache is NaN: there is nowhere to remember it.

        Raises:
            ValueError: the cache is of another depth, or of another number of sequences, or the parameters of the
                blocks are stacked.
        """
        check_not_stacked(self, "blocks")
        self._check_cache(x, cache)
        first, parts = cache.length[0], []  # of all as many
        options = {"memory_mask": memory_mask, "bias": bias, "train": train}
        size = cache.blocks[0].keys.shape[1]
        for block, past, part in zip(self.blocks, cache.blocks, memory or [None] * self.depth, strict=True):
            x, past = block.extend(x, past, first, part, **options)
            parts.append(past)
        fits = first + x.shape[1] <= size
        return jnp.where(fits, self.last(x), jnp.nan), Cache(cache.length + x.shape[1], tuple(parts))

    def _check_cache(self, x: jax.Array, cache: Cache) -> None:
        rows = [len(part.keys) for part in cache.blocks]
        if rows != [len(x)] * self.depth or cache.length.shape != (len(x),):
            raise ValueError(
                f"the state must be of {self.depth} blocks and {len(x)} sequences, got {len(rows)} blocks and "
                f"{len(cache.length)} sequences"
            )
