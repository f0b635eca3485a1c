"""Sentences and their translations as tokens: dates, by characters, or pairs of files, by words or their parts.

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
from typing import Any

import numpy as np

from jaxvision.registry import unknown_name
from train.data import dates
from train.data.subwords import Subwords, learn_subwords
from train.data.text import from_utf_8

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
WORD = re.compile(r" ?\w+| ?[^\w ]")  # with the space before it: so that the tokens in a row are the sentence
DATES_SEED = 0


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """How files of sentences are read."""

    languages: tuple[str, str] = ("de", "en")
    """files: their endings, FROM and TO."""
    lowercase: bool = False
    """files: whether everything is read in lower case, what is to be written too."""
    min_count: int = 1
    """files: how often the training part has a word, at the least; others are unknown."""
    max_words: int = 10_000
    """files: words, or parts of words, of each vocabulary at most, the most frequent; other words are unknown."""
    subwords: bool = False
    """files: whether words are parts that are frequent (byte-pair encoding), so that none is unknown."""
    max_length: int = 60
    """files: most tokens of a sentence; a longer one is an error that names it."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name in ("min_count", "max_words", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language; the number of a token is its place.

    Attributes:
        tokens: `SPECIAL`, and those of the training part.
        words: whether they are words or their parts, and not characters.
        lowercase: whether texts are taken in lower case.
        merges: pairs of parts of a word that are joined, in their order; none where words are whole.
    """

    tokens: tuple[str, ...]
    words: bool
    lowercase: bool = False
    merges: tuple[tuple[str, str], ...] = ()

    def split(self, text: str) -> list[str]:
        """Returns the tokens of a text, known or not: in a row they are the text, but for spaces in a row."""
        pieces = self.pieces(text)
        return self._subwords.split(pieces) if self.merges else pieces

    def pieces(self, text: str) -> list[str]:
        """Returns the words of a text, whole, or its characters where tokens are these."""
        text = text.lower() if self.lowercase else text
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

    @functools.cached_property
    def _subwords(self) -> Subwords:
        return Subwords(self.tokens, self.merges, SPECIAL[UNKNOWN])


def read_vocabulary(fields: Mapping[str, Any]) -> Vocabulary:
    """Makes a vocabulary of its fields as JSON has them."""
    lists = {"tokens": tuple(fields["tokens"]), "merges": tuple(map(tuple, fields.get("merges", ())))}
    return Vocabulary(**{**fields, **lists})


def vocabulary(
    texts: Sequence[str],
    *,
    words: bool,
    lowercase: bool = False,
    min_count: int = 1,
    limit: int | None = None,
    subwords: bool = False,
) -> Vocabulary:
    """Makes the vocabulary of a training part: its tokens, the most frequent first, `limit` of them at most.

    Args:
        texts: of the training part.
        words, lowercase: of the vocabulary.
        min_count: how often a token is there, at the least.
        limit: None for all.
        subwords: whether words are cut into parts, see `train.data.subwords`: the characters, then what pairs of parts
            become that are there `min_count` times.
    """
    empty = Vocabulary((), words, lowercase)
    counts = Counter(token for text in texts for token in empty.split(text))
    if subwords:
        parts, merges = learn_subwords(counts, SPECIAL, min_count, limit)
        return dataclasses.replace(empty, tokens=parts, merges=merges)
    frequent = [token for token, count in counts.items() if count >= min_count]
    ranking = sorted(frequent, key=lambda token: (-counts[token], token))
    return dataclasses.replace(empty, tokens=(*SPECIAL, *ranking[:limit]))


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

    @property
    def translations(self) -> list[str]:
        """What each source is to become."""
        return [target for _, target in self.texts]

    def first(self, count: int) -> "Sentences":
        """Returns the first pairs."""
        return Sentences(*(getattr(self, field.name)[:count] for field in dataclasses.fields(self)))


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


def load_corpus(name: str, directory: Path | None, reading: ReadingConfig) -> Corpus:
    """Loads a corpus.

    Args:
        name: "dates", or "files": train, val and, if there, test, each with the endings of both languages.
        directory: of the files.
        reading: how they are read.

    Raises:
        ValueError: no corpus has that name, a file is empty, of a single line to train on, not UTF-8, has another
            number of lines than its translation, an empty line or one too long; the message names file and line.
        FileNotFoundError: a file is not there.
    """
    if name == "dates":
        if directory is not None:
            raise ValueError(f"--data dates makes its own: it takes no --data-dir, got {directory}")
        return _corpus(dates.generate(DATES_SEED), words=False)
    if name != "files":
        raise ValueError(unknown_name("corpus", name, ("dates", "files")))
    if directory is None:
        raise ValueError("--data files needs --data-dir, a directory of train.de, train.en, val.de, val.en or the like")
    paths = {split: _paths(directory, split, reading.languages) for split in ("train", "val", "test")}
    there = {split: pair for split, pair in paths.items() if split != "test" or any(path.exists() for path in pair)}
    texts = {split: read_parallel(*pair) for split, pair in there.items()}
    if len(texts["train"]) < 2:
        raise ValueError(f"{there['train'][0]} holds a single line: a sentence on each of several is expected")
    if reading.lowercase:
        texts = {split: [(first.lower(), second.lower()) for first, second in part] for split, part in texts.items()}
    options = {"lowercase": reading.lowercase, "min_count": reading.min_count, "limit": reading.max_words}
    corpus = _corpus(texts, words=True, **options, subwords=reading.subwords)
    for split, pair in there.items():
        _check_lengths(corpus, split, pair, reading.max_length)
    return corpus


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
    text = from_utf_8(path.read_bytes(), path)
    if not text.strip():
        raise ValueError(f"{path} is empty: a sentence on each line is expected")
    lines = [" ".join(line.split()) for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        raise ValueError(f"{path}, line {lines.index('') + 1} is empty: a sentence on each line is expected")
    return lines


def _check_lengths(corpus: Corpus, split: str, paths: tuple[Path, Path], limit: int) -> None:
    part = corpus.splits[split]
    written = np.count_nonzero(part.target != PAD, 1) - 2  # without START and END
    for number, counts in enumerate(zip(part.lengths, written, strict=True), start=1):
        for path, count in zip(paths, counts, strict=True):
            if count > limit:
                raise ValueError(
                    f"{path}, line {number} has {count} tokens, more than --max-length {limit}: raise that, or leave "
                    "the line out of both files"
                )


def _corpus(texts: Mapping[str, Sequence[tuple[str, str]]], **options: Any) -> Corpus:
    source, target = (vocabulary(side, **options) for side in zip(*texts["train"], strict=True))
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
