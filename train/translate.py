"""Translates with a finished run: `python -m train.translate runs/translation-additive-dates-0 "May the 4th, 2025"`.

Shapes: N sentences, L tokens written at most.
"""

import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from train.data.parallel import UNKNOWN, Sentences, sentences
from train.data.text import from_utf_8
from train.shared import figures
from train.shared.files import write_atomically
from train.shared.mesh import make_mesh
from train.shared.run import RunError, exit_on
from train.trained import TrainedTranslator, read_translator
from train.translator import Look, Translator

BATCH_SIZE = 250


@dataclasses.dataclass(frozen=True)
class Options:
    """Translate sentences with a trained translator."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run."""
    sentences: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to translate; by default the lines of the standard input."""
    beams: int = 5
    """Beams of the search; 1 for the likeliest token at each step."""
    length_penalty: float = 1.0
    """Exponent of the length that the scores of the search are divided by."""
    alignment: Path | None = None
    """Picture to make, a new PNG file, of where the decoder looked as it wrote: of a Transformer each head of the last
    block."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.beams < 1:
            raise ValueError(f"--beams must be 1 or more, got {self.beams}")
        if self.length_penalty < 0:
            raise ValueError(f"--length-penalty must be 0 or more, got {self.length_penalty}")
        if self.alignment is not None and self.alignment.suffix != ".png":
            raise ValueError(f"--alignment must be a .png file, got {self.alignment}")
        if self.alignment is not None and self.alignment.exists():
            raise ValueError(f"--alignment {self.alignment} exists: give another")


def standard_input() -> list[str]:
    """Returns its lines.

    Raises:
        ValueError: they are not UTF-8.
    """
    text = from_utf_8(sys.stdin.buffer.read(), "standard input")
    return [line.strip() for line in io.StringIO(text)]


def read(texts: Sequence[str], trained: TrainedTranslator) -> Sentences:
    """Encodes sentences.

    Raises:
        ValueError: there is none, or one is empty, longer than the translator takes, or has characters that it has not
            met (words that it has not met are unknown words).
    """
    if not texts:
        raise ValueError("there is nothing to translate: give sentences, or lines on the standard input")
    vocabulary = trained.source
    for number, text in enumerate(texts, start=1):
        tokens = vocabulary.split(text)
        if not 0 < len(tokens) <= trained.max_source:
            raise ValueError(
                f"sentence {number} has {len(tokens)} tokens: 1 to {trained.max_source} are expected, the --max-length "
                "of the training"
            )
        strangers = unknown(trained, text)
        if strangers and not vocabulary.words:
            raise ValueError(f"sentence {number}: the translator has not met {', '.join(map(repr, strangers))}")
    return sentences([(text, "") for text in texts], trained.source, trained.target)


def unknown(trained: TrainedTranslator, text: str) -> list[str]:
    """Returns the tokens of a sentence that the translator has not met."""
    tokens = zip(trained.source.split(text), trained.source.encode(text), strict=True)
    return [token.strip() or token for token, number in tokens if number == UNKNOWN]


def translate(trained: TrainedTranslator, split: Sentences, options: Options) -> tuple[list[str], list[Look]]:
    """Returns the translations of sentences, and where the decoder looked, if it looks and that is to be drawn."""
    translator = Translator(trained.model, trained.max_target, make_mesh(1), min(BATCH_SIZE, len(split)))
    written = translator.write(trained.params, split, options.beams, options.length_penalty)
    texts = [trained.target.decode(row) for row in written.tolist()]
    if options.alignment is None:
        return texts, []
    return texts, translator.look(trained.params, split, written, trained.source, trained.target)


def save(looks: Sequence[Look], path: Path) -> None:
    """Writes the picture of where the decoder looked.

    Raises:
        ValueError: it looks at nothing.
    """
    if not looks:
        raise ValueError(f"--alignment: this translator has no attention to draw, {path} is not made")
    png = io.BytesIO()
    figures.heads(looks).savefig(png, format="png", dpi=150)
    write_atomically(path, png.getvalue())


def main() -> None:
    """Translates as the command line says."""
    with exit_on(RunError, ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.translate", config=(tyro.conf.FlagCreatePairsOff,))
        trained = read_translator(options.run_dir)
        given = options.sentences or standard_input()
        split = read(given, trained)
        for number, text in enumerate(given, start=1):
            if strangers := unknown(trained, text):
                kind = "characters" if trained.source.merges else "words"
                print(f"note: sentence {number} has unknown {kind}: {', '.join(strangers)}", file=sys.stderr)
        texts, looks = translate(trained, split, options)
        print("\n".join(texts), flush=True)
        if options.alignment is not None:
            save(looks, options.alignment)


if __name__ == "__main__":
    main()
