"""Texts: what is read, how it is cut, and what is said of those that cannot be."""

import hashlib
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from train.data.text import cut, decode, encode, load_text, place, read_text, standard_library, text_files


@pytest.fixture
def write(tmp_path):
    """Writes a file of the given bytes and returns its path."""

    def write(content: bytes, name: str = "text.txt") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def test_the_standard_library_is_whole_modules_in_a_fixed_order():
    files = standard_library(None, 60_000)
    assert sum(len(file.content) for file in files) <= 60_000
    root = Path(sysconfig.get_paths()["stdlib"])
    assert all(file.content == file.path.read_text() for file in files)
    digests = [hashlib.sha256(file.path.relative_to(root).as_posix().encode()).hexdigest() for file in files]
    assert digests == sorted(digests)
    more = standard_library(None, 120_000)
    assert more[: len(files)] == files
    assert len(more) > len(files)


def test_text_is_cut_into_nine_tenths_and_the_rest(write):
    content = "über\n" + "abc\n" * 20
    text = load_text("text", write(content.encode()), 0)
    assert text.vocabulary == "\nabcerü"
    assert decode(text.train, text.vocabulary) + decode(text.val, text.vocabulary) == content
    assert len(text.val) == round(0.1 * len(content))
    assert text.digest == hashlib.sha256(content.encode()).hexdigest()
    assert text.num_files == 1


def test_tokens_are_places_in_the_vocabulary():
    tokens = encode("abba\n", "\nab")
    np.testing.assert_array_equal(tokens, [1, 2, 2, 1, 0])
    assert tokens.dtype == np.int32
    with pytest.raises(ValueError, match=r"line 2: the character 'é' \(U\+00E9\) is none of the 3 known characters"):
        encode("ab\naé", "\nab")


def test_a_directory_is_read_in_the_order_of_names(write):
    write(b"second\ntwo\n", "b.txt")
    path = write(b"first\none\n", "a.txt")
    write(b"ignored\n\n", "c.py")
    files = text_files(path.parent, 0)
    assert [file.path.name for file in files] == ["a.txt", "b.txt"]
    assert place(files, 6) == f"{files[0].path}, line 2, byte 6"
    assert place(files, len("first\none\nsecond\nt")) == f"{files[1].path}, line 2, byte 8"


def test_what_is_no_utf_8_is_named_by_file_line_and_byte(write):
    path = write("größe\nof a café\n".encode() + b"caf\xe9\n")
    with pytest.raises(ValueError, match=rf"{path}, line 3: byte 22 is 0xe9, which is no UTF-8"):
        read_text(path)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"), (b" \n\n", "is empty"), (b"one line\n", "holds a single line"), (b"one", "holds a single line"),
])  # fmt: skip
def test_texts_of_no_line_or_one(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=f"{path} {message}: a text of several lines is expected"):
        load_text("text", path, 0)


def test_a_character_of_the_validation_alone_is_named_by_file_line_and_byte(write):
    write(b"abc\n" * 20, "a.txt")
    path = write("ab\nüc½\n".encode(), "b.txt")
    write("ü\nü\n".encode(), "0.txt")
    with pytest.raises(ValueError, match=rf"{path}, line 2, byte 6: the character '½' \(U\+00BD\) is not in the train"):
        cut(text_files(path.parent, 0))


@pytest.mark.parametrize(("name", "path", "message"), [
    ("pyton", None, "unknown text 'pyton'; did you mean python"),
    ("python", Path("here"), "--data python .* takes no --data-dir, got here"),
    ("text", None, "--data text needs --data-dir"),
])  # fmt: skip
def test_sources_that_cannot_be(name, path, message):
    with pytest.raises(ValueError, match=message):
        load_text(name, path, 10_000)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--data-dir .*missing\.txt does not exist"):
        load_text("text", tmp_path / "missing.txt", 0)
    with pytest.raises(ValueError, match=r"holds no \.txt file"):
        load_text("text", tmp_path, 0)
    with pytest.raises(ValueError, match="--max-characters 10 is less than the first module has"):
        load_text("python", None, 10)
