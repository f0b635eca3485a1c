"""A language model: recurrent layers that tell, after each token of a text, how likely each is to be the next.

Mikolov et al., "Recurrent neural network based language model", Interspeech 2010; Graves 2013,
https://arxiv.org/abs/1308.0850. Shapes: B batch, T time, V vocabulary, D embedding, H hidden units, L layers.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.initializers import torch_linear
from jaxvision.layers.recurrent import GRU, LSTM, RNN, Recurrent, State

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class LanguageModel(nn.Module):
    """Tokens in, embedded or as one-hot vectors, recurrent layers, logits of the next token out.

    Attributes:
        vocabulary_size: V; tokens are 0 to V - 1.
        cell: of the layers.
        hidden: H, units of each layer.
        num_layers: L.
        embedding: D; 0 gives the layers one-hot vectors.
        dropout: share dropped in training of what each layer and the head are given, one-hot vectors excepted.
        dtype: of the computation; parameters are float32.
    """

    vocabulary_size: int
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    hidden: int = 128
    num_layers: int = 1
    embedding: int = 0
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @property
    def layers(self) -> Recurrent:
        """The recurrent layers, in no module.

        Raises:
            ValueError: there is no such cell.
        """
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        return CELLS[self.cell](self.hidden, self.num_layers, dropout=self.dropout, dtype=self.dtype, parent=None)

    @nn.compact
    def __call__(
        self, tokens: jax.Array, state: State | None = None, *, train: bool
    ) -> tuple[jax.Array, State]:  # [B, T] -> [B, T, V]
        """Returns the logits of each next token, and the state after the last.

        Args:
            tokens: int [B, T].
            state: before the first token, as it is returned: [L, B, H] each; None for zeros.
            train: whether to drop activations.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if self.embedding:
            embed = nn.Embed(
                self.vocabulary_size,
                self.embedding,
                dtype=self.dtype,
                embedding_init=nn.initializers.normal(1.0),
                name="embedding",
            )
            x = drop(embed(tokens))
        else:
            x = jax.nn.one_hot(tokens, self.vocabulary_size, dtype=self.dtype)
        x, state = self.layers.clone(parent=self, name="recurrent")(x, state, train=train)
        kernel_init, bias_init = torch_linear(self.hidden, self.vocabulary_size)
        options = {"dtype": self.dtype, "kernel_init": kernel_init, "bias_init": bias_init}
        return nn.Dense(self.vocabulary_size, **options, name="head")(drop(x)), state

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first token of each text: zeros, [L, B, H] each."""
        zeros = jnp.zeros((self.num_layers, batch_size, self.hidden), self.dtype)
        return (zeros,) * self.layers.cell.num_states

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that calls them `embedding`, `recurrent` and `head`."""
        lines = self.layers.torch_names()["torch"]
        recurrent = {f"recurrent/{ours}": f"recurrent.{theirs}" for ours, theirs in lines.items()}
        return {"torch": {"embedding/embedding": "embedding.weight", **recurrent, "head": "head"}}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of one text of two tokens."""
        return jax.ShapeDtypeStruct((1, 2), jnp.int32)
