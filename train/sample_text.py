"""Writes text with a trained language model: `python -m train.sample_text runs/lstm-python-0 --prompt "def "`.

A Transformer sees as far as it learnt to. Where a text grows longer, its last part, half as long, becomes the beginning
of what is gone on with. Shapes: B samples, N characters of the prompt, L characters written.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jaxvision.ops.decoding import sample
from jaxvision.rnn.language_model import LanguageModel
from jaxvision.transformer.gpt import GPT
from train.data.text import decode, encode
from train.shared.run import RunError, exit_on
from train.shared.seeds import check_seed
from train.trained import TrainedLanguageModel, read_language_model


@dataclasses.dataclass(frozen=True)
class Options:
    """Write text with a trained language model."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run."""
    prompt: str = "\n"
    """What the text begins with."""
    length: int = 500
    """Characters to write after it."""
    temperature: float = 1.0
    """What the logits are divided by: below 1 safer, above 1 wilder, 0 for the likeliest character always."""
    top_k: int | None = None
    """Of how many characters, the likeliest, each is drawn."""
    top_p: float | None = None
    """Of how much probability, that of the likeliest characters, each is drawn."""
    samples: int = 1
    """Texts to write."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name, valid, expected in [
            ("prompt", self.prompt, "one character or more"),
            ("length", self.length >= 1, "1 or more"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("samples", self.samples >= 1, "1 or more"),
        ]:
            if not valid:
                raise ValueError(f"--{name.replace('_', '-')} must be {expected}, got {getattr(self, name)!r}")
        check_seed(self.seed)


def write(trained: TrainedLanguageModel, options: Options) -> list[str]:
    """Returns what the model writes after the prompt, B texts of L characters.

    Raises:
        ValueError: the prompt holds a character that the model has not met.
    """
    try:
        prompt = encode(options.prompt, trained.vocabulary)
    except ValueError as error:
        raise ValueError(f"--prompt, {error}") from error
    tokens = _written(trained, options, np.tile(prompt, (options.samples, 1)))
    return [decode(row, trained.vocabulary) for row in tokens]


def _written(trained: TrainedLanguageModel, options: Options, prompts: np.ndarray) -> np.ndarray:  # [B, N] -> [B, L]
    draw, key = _draw(trained.model, options), jax.random.key(options.seed)
    if not isinstance(trained.model, GPT):
        return np.asarray(draw(trained.variables, prompts, key, options.length))
    texts, room = prompts, trained.model.max_length
    while missing := prompts.shape[1] + options.length - texts.shape[1]:
        seen = texts if texts.shape[1] <= room else texts[:, -(room // 2) :]
        key, now = jax.random.split(key)
        more = draw(trained.variables, seen, now, min(missing, room + 1 - seen.shape[1]))
        texts = np.concatenate([texts, more], 1)
    return texts[:, prompts.shape[1] :]


def _draw(model: LanguageModel | GPT, options: Options) -> Callable[..., jax.Array]:
    """Returns the compiled function of variables, prompts int [B, N], key and L to what follows them, int [B, L]."""
    # Recurrent layers have the sequence second, decoding has it first, and so has the Transformer's cache.
    turned = lambda state: jax.tree.map(lambda part: part if isinstance(model, GPT) else part.swapaxes(0, 1), state)

    @partial(jax.jit, static_argnums=3)
    def draw(variables: Any, prompts: jax.Array, key: jax.Array, length: int) -> jax.Array:
        def step(tokens, state):
            logits, state = model.apply(variables, tokens[:, None], turned(state), train=False)
            return logits[:, 0], turned(state)

        state = model.initial_state(len(prompts))
        if prompts.shape[1] > 1:
            _, state = model.apply(variables, prompts[:, :-1], state, train=False)
        return sample(
            step,
            turned(state),
            prompts[:, -1],
            key=key,
            max_length=length,
            end=-1,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )

    return draw


def main() -> None:
    """Writes as the command line says."""
    with exit_on(RunError, ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.sample_text", config=(tyro.conf.FlagCreatePairsOff,))
        texts = write(read_language_model(options.run_dir), options)
    for number, text in enumerate(texts, start=1):
        title = f"--- {number} ---\n" if len(texts) > 1 else ""
        print(f"{title}{options.prompt}{text}")


if __name__ == "__main__":
    main()
