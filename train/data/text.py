"""Texts as sequences of characters: the source of Python's standard library, found on every machine, or any files.

Shapes: N characters, V vocabulary.
"""

import dataclasses
import hashlib
import string
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from jaxvision.registry import unknown_name

VALIDATION_SHARE = 0.1
NOT_READ = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
PLAIN = {*string.printable} - {*"\t\r\v\f"}
"""Characters of the files of the standard library that are read: so no rare one is met in the validation alone."""


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A file and what it holds."""

    path: Path
    content: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A text cut into its first nine tenths, to train on, and the rest.

    Attributes:
        vocabulary: the V characters of the training part, in the order of their code points; a token is a place in it.
        train, val: int32 [N], the tokens.
        digest: SHA-256 of the whole.
        num_files: that it was read from.
    """

    vocabulary: str
    train: np.ndarray
    val: np.ndarray
    digest: str
    num_files: int


def load_text(name: str, path: Path | None, max_characters: int) -> Text:
    """Loads a text and cuts it.

    Args:
        name: one of `TEXTS`.
        path: the file, or the directory whose .txt files are read in the order of their names.
        max_characters: how much of the standard library is read, in whole files.

    Raises:
        ValueError: no text has that name (the message suggests the nearest); a file is empty, of a single line or not
            UTF-8, or the validation part holds characters that the training part does not.
        FileNotFoundError: the file is not there.
    """
    if name not in TEXTS:
        raise ValueError(unknown_name("text", name, TEXTS))
    return cut(TEXTS[name](path, max_characters))


def standard_library(path: Path | None, max_characters: int) -> list[TextFile]:
    """Reads modules of Python's standard library, tests left out, until the next would exceed a number of characters.

    They come in the order of the digests of their names: a part of them is like the whole, on every machine that has
    the same version of Python.

    Raises:
        ValueError: a path was given, or not even the first module is as short.
    """
    if path is not None:
        raise ValueError(f"--data python reads the standard library: it takes no --data-dir, got {path}")
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [found for found in root.rglob("*.py") if not NOT_READ & {*found.relative_to(root).parts}]
    digest = lambda found: hashlib.sha256(found.relative_to(root).as_posix().encode()).hexdigest()
    files = map(_read_if_plain, sorted(paths, key=digest))
    kept, size = [], 0
    for file in filter(None, files):
        size += len(file.content)
        if size > max_characters:
            break
        kept.append(file)
    if not kept:
        raise ValueError(f"--max-characters {max_characters} is less than the first module has")
    return kept


def _read_if_plain(path: Path) -> TextFile | None:
    try:
        content = path.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        return None
    return TextFile(path, content) if content and set(content) <= PLAIN else None


def text_files(path: Path | None, max_characters: int) -> list[TextFile]:
    """Reads a file of text, or all .txt files of a directory.

    Raises:
        ValueError: none was given or found, or a file is empty, of a single line or not UTF-8.
        FileNotFoundError: there is no such file.
    """
    del max_characters
    if path is None:
        raise ValueError("--data text needs --data-dir, a file of text or a directory of .txt files")
    if not path.exists():
        raise FileNotFoundError(f"--data-dir {path} does not exist")
    paths = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"--data-dir {path} holds no .txt file")
    return [TextFile(file, read_text(file)) for file in paths]


def read_text(path: Path) -> str:
    """Reads a file of several lines of text in UTF-8, its line ends as they are.

    Raises:
        ValueError: it is empty, of a single line or not UTF-8; the message names file, line and byte.
    """
    text = from_utf_8(path.read_bytes(), path)
    if not text.strip():
        raise ValueError(f"{path} is empty: a text of several lines is expected")
    if "\n" not in text.strip():
        raise ValueError(f"{path} holds a single line: a text of several lines is expected")
    return text


def from_utf_8(content: bytes, source: Path | str) -> str:
    """Returns what bytes say, line ends as they are.

    Raises:
        ValueError: they are not UTF-8; the message names where they are from, line and byte.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise ValueError(f"{source}, line {line}: {byte}, which is no UTF-8 ({error.reason})") from error


def cut(files: Sequence[TextFile]) -> Text:
    """Joins files and holds the last tenth out.

    Raises:
        ValueError: the validation part holds a character that the training part does not.
    """
    text = "".join(file.content for file in files)
    boundary = validation_start(len(text))
    vocabulary = "".join(sorted(set(text[:boundary])))
    if unknown := set(text[boundary:]) - set(vocabulary):
        first = next(index for index in range(boundary, len(text)) if text[index] in unknown)
        raise ValueError(
            f"{place(files, first)}: {_character(text[first])} is not in the training part, the first "
            f"{boundary:,} of {len(text):,} characters, so that no probability can be learnt for it: replace it"
        )
    train, val = (encode(part, vocabulary) for part in (text[:boundary], text[boundary:]))
    return Text(vocabulary, train, val, hashlib.sha256(text.encode()).hexdigest(), len(files))


def validation_start(size: int) -> int:
    """Returns where the validation part of a text begins."""
    return size - round(VALIDATION_SHARE * size)


def place(files: Sequence[TextFile], index: int) -> str:
    """Says where a character of the joined files stands."""
    ends = list(accumulate(len(file.content) for file in files))
    number = next(n for n, end in enumerate(ends) if index < end)
    before = files[number].content[: index - (ends[number] - len(files[number].content))]
    return f"{files[number].path}, line {before.count(chr(10)) + 1}, byte {len(before.encode())}"


def encode(text: str, vocabulary: str) -> np.ndarray:  # -> int32 [N]
    """Returns the tokens of a text.

    Raises:
        ValueError: a character is not in the vocabulary; the message names its line.
    """
    known = {character: token for token, character in enumerate(vocabulary)}
    for index, character in enumerate(text):
        if character not in known:
            line = text.count("\n", 0, index) + 1
            raise ValueError(f"line {line}: {_character(character)} is none of the {len(vocabulary)} known characters")
    return np.array([known[character] for character in text], np.int32)


def decode(tokens: np.ndarray, vocabulary: str) -> str:  # [N] ->
    """Returns the text of tokens."""
    return "".join(vocabulary[token] for token in tokens)


def _character(character: str) -> str:
    return f"the character {character!r} (U+{ord(character):04X})"


TEXTS: Mapping[str, Callable[[Path | None, int], list[TextFile]]] = {"python": standard_library, "text": text_files}
