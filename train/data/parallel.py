"""Sentences and their translations as tokens: dates, character by character, or pairs of files, word by word.

Shapes: N pairs, S source tokens, T target tokens.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvision.registry import unknown_name
from train.data import dates

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
WORD = re.compile(r" ?\w+| ?[^\w ]")  # with the space before it: so that the tokens in a row are the sentence
DATES_SEED = 0


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language; the number of a token is its place.

    Attributes:
        tokens: `SPECIAL`, and those of the training part.
        words: whether they are words, and not characters.
    """

    tokens: tuple[str, ...]
    words: bool

    def split(self, text: str) -> list[str]:
        """Returns the tokens of a text."""
        return WORD.findall(" " + " ".join(text.split())) if self.words else list(text)

    def encode(self, text: str) -> list[int]:
        """Returns the numbers of the tokens of a text, `UNKNOWN` for those that the vocabulary lacks."""
        return [self._places.get(token, UNKNOWN) for token in self.split(text)]

    def decode(self, numbers: Iterable[int]) -> str:
        """Returns the text of tokens, up to the first `END`."""
        kept = []
        for number in numbers:
            if number == END:
                break
            kept.append(self.tokens[number] if number > UNKNOWN else f" {SPECIAL[number]}")
        return "".join(kept).removeprefix(" ")

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens)}


def vocabulary(texts: Sequence[str], words: bool, limit: int | None) -> Vocabulary:
    """Makes the vocabulary of a training part: its tokens, the most frequent first, `limit` of them at most."""
    empty = Vocabulary((), words)
    counts = Counter(token for text in texts for token in empty.split(text))
    ranking = sorted(counts, key=lambda token: (-counts[token], token))
    return Vocabulary((*SPECIAL, *ranking[:limit]), words)


@dataclasses.dataclass(frozen=True)
class Sentences:
    """A split.

    Attributes:
        texts: N pairs, as they were written.
        source: int32 [N, S], padded with `PAD`.
        lengths: int32 [N], of the sources.
        target: int32 [N, T + 1]: `START`, the translation, `END`, and `PAD`.
    """

    texts: Sequence[tuple[str, str]]
    source: np.ndarray
    lengths: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Sentences and their translations.

    Attributes:
        splits: train, val, and test if there is one.
        source, target: the vocabularies, of the training part.
        digest: SHA-256 of all texts.
    """

    splits: Mapping[str, Sentences]
    source: Vocabulary
    target: Vocabulary
    digest: str


def load_corpus(
    name: str, directory: Path | None, languages: tuple[str, str], max_words: int, max_length: int
) -> Corpus:
    """Loads a corpus.

    Args:
        name: "dates", or "files": train, val and, if there, test, each with the endings of both languages.
        directory: of the files.
        languages: from and to: the endings of the files, such as ("de", "en").
        max_words: files: tokens of each vocabulary, the most frequent; others are unknown.
        max_length: files: most tokens of a sentence.

    Raises:
        ValueError: no corpus has that name, a file is empty, not UTF-8, has another number of lines than its
            translation, an empty line or one too long; the message names file and line.
        FileNotFoundError: a file is not there.
    """
    if name == "dates":
        if directory is not None:
            raise ValueError(f"--data dates makes its own: it takes no --data-dir, got {directory}")
        return _corpus(dates.generate(DATES_SEED), words=False, limit=None)
    if name != "files":
        raise ValueError(unknown_name("corpus", name, ("dates", "files")))
    if directory is None:
        raise ValueError("--data files needs --data-dir, a directory of train.de, train.en, val.de, val.en or the like")
    paths = {split: _paths(directory, split, languages) for split in ("train", "val", "test")}
    there = {split: pair for split, pair in paths.items() if split != "test" or any(path.exists() for path in pair)}
    texts = {split: read_parallel(*pair) for split, pair in there.items()}
    for split, pair in there.items():
        _check_lengths(texts[split], pair, max_length)
    return _corpus(texts, words=True, limit=max_words)


def _paths(directory: Path, split: str, languages: tuple[str, str]) -> tuple[Path, Path]:
    first, second = (directory / f"{split}.{language}" for language in languages)
    return first, second


def read_parallel(source: Path, target: Path) -> list[tuple[str, str]]:
    """Reads two files whose lines are translations of each other.

    Raises:
        ValueError: a file is empty, not UTF-8, has another number of lines than the other, or an empty line.
        FileNotFoundError: there is no such file.
    """
    first, second = _lines(source), _lines(target)
    if len(first) != len(second):
        more, last = (source, len(second)) if len(first) > len(second) else (target, len(first))
        raise ValueError(
            f"{source} has {len(first):,} lines and {target} {len(second):,}: line {last + 1} of {more} is a "
            "translation of none"
        )
    return list(zip(first, second, strict=True))


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise ValueError(f"{path}, line {line}: {byte}, which is no UTF-8 ({error.reason})") from error
    if not text.strip():
        raise ValueError(f"{path} is empty: a sentence on each line is expected")
    lines = [" ".join(line.split()) for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        raise ValueError(f"{path}, line {lines.index('') + 1} is empty: a sentence on each line is expected")
    return lines


def _check_lengths(texts: Sequence[tuple[str, str]], paths: tuple[Path, Path], limit: int) -> None:
    words = Vocabulary((), words=True)
    for number, pair in enumerate(texts, start=1):
        for path, text in zip(paths, pair, strict=True):
            if (count := len(words.split(text))) > limit:
                raise ValueError(
                    f"{path}, line {number} has {count} tokens, more than --max-length {limit}: raise that, or leave "
                    "the line out of both files"
                )


def _corpus(texts: Mapping[str, Sequence[tuple[str, str]]], words: bool, limit: int | None) -> Corpus:
    source, target = (vocabulary(side, words, limit) for side in zip(*texts["train"], strict=True))
    splits = {split: sentences(pairs, source, target) for split, pairs in texts.items()}
    return Corpus(splits, source, target, hashlib.sha256(json.dumps(texts).encode()).hexdigest())


def sentences(texts: Sequence[tuple[str, str]], source: Vocabulary, target: Vocabulary) -> Sentences:
    """Encodes pairs of texts."""
    sources = [source.encode(text) for text, _ in texts]
    targets = [[START, *target.encode(text), END] for _, text in texts]
    return Sentences(texts, _padded(sources), np.array([len(row) for row in sources], np.int32), _padded(targets))


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:  # -> int32 [N, S]
    padded = np.full((len(rows), max(map(len, rows))), PAD, np.int32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded
