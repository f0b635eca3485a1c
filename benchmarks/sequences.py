"""Language models and translators beside those of PyTorch, in the same run.

    python -m benchmarks.sequences --output sequences.json

`gpt` is a language model, beside transformers' GPT2LMHeadModel; `marian` a translator, beside MarianMTModel; `lstm` and
`seq2seq` are the same two of recurrent layers, the latter with additive attention, beside plain PyTorch (see
`benchmarks/torch_sequences.py`). Each is of the same size on the same random tokens. "infer" gives the logits of whole
sequences, "train" is a forward and a backward pass and a step of SGD with momentum, and "write" writes a sequence token
by token, the likeliest, with what came before remembered. All are warmed up, then timed round after round; the
medians are compared. The ratio is that of our speed to that of the faster of PyTorch eager and compiled (which writing
is not, nor the recurrent translator, a loop that the compiler unrolls). Shapes: B sequences, T tokens.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks.timing import Run
from benchmarks.work import Contest, compiled, of_torch, training
from jaxvision.layers.pairs import Pairs
from jaxvision.ops.decoding import greedy
from jaxvision.rnn.language_model import LanguageModel
from jaxvision.rnn.seq2seq import Seq2Seq
from jaxvision.transformer.gpt import GPT
from jaxvision.transformer.transformer import marian

MODELS, WORK = ("gpt", "marian", "lstm", "seq2seq"), ("infer", "train", "write")
LANGUAGE_MODELS = ("gpt", "lstm")
START, NO_END = 1, -1  # a token that is never written, so that all are as long


@dataclasses.dataclass(frozen=True)
class Size:
    """What is measured: of the model, and of its input."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    batch: int
    length: int

    @property
    def tokens(self) -> np.ndarray:  # -> int32 [B, T]
        """Random tokens."""
        return np.random.RandomState(0).randint(2, self.vocabulary, (self.batch, self.length), np.int32)


def our_model(name: str, size: Size) -> nn.Module:
    """Returns our model, which drops nothing."""
    if name in ("lstm", "seq2seq"):
        layers = {"hidden": size.width, "num_layers": size.depth, "embedding": size.width}
        if name == "lstm":
            return LanguageModel(size.vocabulary, **layers)
        return Seq2Seq(size.vocabulary, size.vocabulary, **layers)
    shape = {"dim": size.width, "depth": size.depth, "num_heads": size.heads, "max_length": size.length}
    if name == "gpt":
        return GPT(size.vocabulary, **shape, dropout_rate=0.0)
    return marian(size.vocabulary, size.vocabulary, **shape, hidden=4 * size.width, dropout_rate=0.0)


def ours(name: str, work: str, size: Size) -> Run:
    """Returns our work, compiled."""
    model, tokens = our_model(name, size), jnp.asarray(size.tokens)
    variables = jv.init(model, jax.random.key(0))
    lengths = jnp.full(size.batch, size.length)
    given = tokens if name in LANGUAGE_MODELS else Pairs(tokens, lengths, tokens)

    def logits_of(variables, given, train):
        found = model.apply(variables, given, train=train)
        return found[0] if name in LANGUAGE_MODELS else found

    if work == "infer":
        return compiled(partial(logits_of, train=False), variables, given)
    if work == "write":
        return compiled(partial(_write, model), tokens, lengths, variables)
    return training(lambda *given: (logits_of(*given, train=True), {}), variables, given, tokens)


def _write(model: nn.Module, tokens: jax.Array, lengths: jax.Array, variables: Any) -> jax.Array:  # -> [B, T - 1]
    options = {"max_length": tokens.shape[1] - 1, "end": NO_END}
    if isinstance(model, GPT | LanguageModel):

        def step(tokens, state):
            logits, state = model.apply(variables, tokens[:, None], state, train=False)
            return logits[:, 0], state

        return greedy(step, model.initial_state(len(tokens)), jnp.full(len(tokens), START), **options)
    memory, state = model.apply(variables, tokens, lengths, train=False, method="encode")
    step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
    return greedy(step, state, jnp.full(len(tokens), START), **options)


def their_model(name: str, size: Size):
    """Returns the peer, which drops nothing."""
    from benchmarks import torch_sequences

    recurrent = {"lstm": torch_sequences.LanguageModel, "seq2seq": torch_sequences.Translator}
    if name in recurrent:
        return recurrent[name](size.vocabulary, size.width, size.depth)
    import transformers

    ends = {"pad_token_id": 0, "bos_token_id": START, "eos_token_id": None}
    if name == "gpt":
        rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        shape = {"n_embd": size.width, "n_layer": size.depth, "n_head": size.heads, "n_positions": size.length}
        config = transformers.GPT2Config(vocab_size=size.vocabulary, **shape, **rates, **ends)
        return transformers.GPT2LMHeadModel(config)
    sizes = {"layers": size.depth, "attention_heads": size.heads, "ffn_dim": 4 * size.width}
    parts = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in sizes.items()}
    shape = {"d_model": size.width, "max_position_embeddings": size.length, "activation_function": "swish"}
    shared = {"scale_embedding": True, "decoder_start_token_id": START, "dropout": 0.0, **ends}
    config = transformers.MarianConfig(vocab_size=size.vocabulary, **parts, **shape, **shared)
    return transformers.MarianMTModel(config)


def theirs(name: str, work: str, size: Size, compiles: bool) -> Run:
    """Returns the work of the peer."""
    import torch

    model, tokens = their_model(name, size), torch.from_numpy(size.tokens).long()
    of_text = name in LANGUAGE_MODELS
    if work != "write":
        given = {"input_ids": tokens} if of_text else {"input_ids": tokens, "decoder_input_ids": tokens}
        return of_torch(model, work, {**given, "use_cache": False}, tokens, compiles)
    begun = torch.full((size.batch, 1), START) if of_text else tokens

    def write() -> None:
        with torch.inference_mode():
            model.eval().generate(begun, max_new_tokens=size.length - 1, do_sample=False, num_beams=1)

    return write


def peers(name: str, work: str, size: Size) -> dict[str, Run]:
    """Returns PyTorch's runs."""
    compiled = () if work == "write" or name == "seq2seq" else ("compiled",)
    return {f"torch {kind}": theirs(name, work, size, kind == "compiled") for kind in ("eager", *compiled)}


CONTEST = Contest(dict.fromkeys(MODELS, WORK), ours, peers, "tokens", lambda size: size.batch * size.length)


def main() -> None:
    """Measures what the command line names."""
    default = Size(vocabulary=1000, width=256, depth=4, heads=4, batch=8, length=128)
    CONTEST.main(__doc__.partition("\n")[0], "python -m benchmarks.sequences", default)


if __name__ == "__main__":
    main()
