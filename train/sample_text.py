"""Writes text with a trained language model: `python -m train.sample_text runs/lstm-python-0 --prompt "def "`.

Shapes: B samples, N characters of the prompt, L characters written.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision.ops.decoding import sample
from train.data.text import decode, encode
from train.shared.run import RunError, exit_on
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
            ("seed", self.seed >= 0, "0 or more"),
        ]:
            if not valid:
                raise ValueError(f"--{name.replace('_', '-')} must be {expected}, got {getattr(self, name)!r}")


def write(trained: TrainedLanguageModel, options: Options) -> list[str]:
    """Returns what the model writes after the prompt, B texts of L characters.

    Raises:
        ValueError: the prompt holds a character that the model has not met.
    """
    try:
        prompt = encode(options.prompt, trained.vocabulary)
    except ValueError as error:
        raise ValueError(f"--prompt, {error}") from error
    tokens = _draw(trained, options)(trained.variables, jnp.asarray(np.tile(prompt, (options.samples, 1))))
    return [decode(row, trained.vocabulary) for row in np.asarray(tokens)]


def _draw(trained: TrainedLanguageModel, options: Options):
    """Returns the compiled function of variables and prompts, int [B, N], to what follows them, int [B, L]."""
    model = trained.model

    @jax.jit
    def draw(variables, prompts):
        def step(tokens, state):  # the layers have the sequence second, decoding has it first
            state = jax.tree.map(lambda part: part.swapaxes(0, 1), state)
            logits, state = model.apply(variables, tokens[:, None], state, train=False)
            return logits[:, 0], jax.tree.map(lambda part: part.swapaxes(0, 1), state)

        state = model.initial_state(len(prompts))
        if prompts.shape[1] > 1:
            _, state = model.apply(variables, prompts[:, :-1], state, train=False)
        return sample(
            step,
            jax.tree.map(lambda part: part.swapaxes(0, 1), state),
            prompts[:, -1],
            key=jax.random.key(options.seed),
            max_length=options.length,
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
