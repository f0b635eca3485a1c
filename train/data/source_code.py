"""Properties of Python source, character by character: what a model of source code may keep in mind.

A property of a character is one of the text up to it, as a model knows it that has read the character: so it begins
with the quote that opens a string, and ends before the one that closes it. Shapes: N characters.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from itertools import accumulate

import numpy as np

Span = tuple[int, int]  # the first character, and the one after the last
TRIPLE = ('"""', "'''")
FAR = 40  # columns

# Since Python 3.12 an f-string is tokens of its own, from one to the other.
FSTRING_START, FSTRING_END = (getattr(tokenize, name, None) for name in ("FSTRING_START", "FSTRING_END"))


def properties(source: str) -> dict[str, np.ndarray]:  # bool [N] each
    """Returns where each property holds.

    Raises:
        SyntaxError: the source is not of this version of Python.
    """
    if lone := re.search("\r(?!\n)", source):  # ends a line for `ast`, and none for `tokenize`
        raise SyntaxError(f"character {lone.start()} is a carriage return without a line feed after it")
    try:
        (strings, comments), conditions = _strings_and_comments(source), list(_conditions(source))
    except tokenize.TokenError as error:
        message, (line, _) = error.args
        raise SyntaxError(f"{message} (line {line})") from error
    except (ValueError, RecursionError, MemoryError) as error:  # characters that have no UTF-8; too deep nesting
        raise SyntaxError(str(error)) from error
    triple = [span for span in strings if source[span[0] : span[0] + 3] in TRIPLE]
    return {
        "inside quotes": _marked(source, set(strings) - set(triple)),
        "inside triple quotes": _marked(source, triple),
        "inside the condition of an if": _marked(source, conditions),
        "inside a comment": _marked(source, comments),
        "in the indentation of a line": _marked(source, _indentations(source)),
        f"past column {FAR} of a line": _columns(source) >= FAR,
    }


def _marked(source: str, spans: Iterable[Span]) -> np.ndarray:
    marks = np.zeros(len(source), bool)
    for first, end in spans:
        marks[first:end] = True
    return marks


def _lines(source: str) -> list[str]:
    """Returns the lines as Python counts them, with their ends."""
    return io.StringIO(source).readlines()


def _starts(source: str) -> list[int]:
    """Returns where each line begins, and where the text ends."""
    return [0, *accumulate(map(len, _lines(source)))]


def _columns(source: str) -> np.ndarray:
    return np.concatenate([np.arange(len(line)) for line in _lines(source)])


def _indentations(source: str) -> Iterator[Span]:
    for start, line in zip(_starts(source), _lines(source), strict=False):
        if line.strip():
            yield start, start + len(line) - len(line.lstrip(" "))


def _strings_and_comments(source: str) -> tuple[list[Span], list[Span]]:
    starts, strings, comments, opened = _starts(source), [], [], []
    at = lambda place: starts[place[0] - 1] + place[1]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.append((at(token.start), at(token.end)))
        elif token.type == tokenize.STRING:
            quotes = _quotes(token.string)
            prefix = token.string.index(quotes)
            strings.append((at(token.start) + prefix, at(token.end) - len(quotes)))
        elif token.type == FSTRING_START:
            opened.append(at(token.start) + token.string.index(_quotes(token.string)))
        elif token.type == FSTRING_END:
            strings.append((opened.pop(), at(token.start)))
    return strings, comments


def _quotes(string: str) -> str:
    """Returns the quotes that open a string: one or three."""
    body = string.lstrip("rRbBuUfFtT")
    return body[:3] if body[:3] in TRIPLE else body[:1]


def _conditions(source: str) -> Iterator[Span]:
    """Yields what stands between `if` or `elif` and the colon, from the last letter of the word on."""
    starts, lines = _starts(source), _lines(source)
    column = lambda line, offset: len(lines[line - 1].encode()[:offset].decode())  # `ast` counts bytes
    at = lambda line, offset: starts[line - 1] + column(line, offset)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If):
            first = at(node.lineno, node.col_offset)
            word = "elif" if source.startswith("elif", first) else "if"
            yield first + len(word) - 1, source.index(":", at(node.test.end_lineno, node.test.end_col_offset))
