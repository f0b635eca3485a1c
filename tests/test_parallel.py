"""Dates and parallel corpora: what is generated and read, and what is said of files that cannot be."""

import dataclasses
import itertools
import json
import re
import sys
from collections import Counter
from datetime import date, datetime, timedelta

import numpy as np
import pytest

from train.data import dates
from train.data.parallel import (
    END,
    PAD,
    SPECIAL,
    START,
    UNKNOWN,
    ReadingConfig,
    load_corpus,
    read_parallel,
    read_vocabulary,
    sentences,
    vocabulary,
)
from train.shared.run import RunError

PARSED = {
    "{d}.{m}.{y}": "%d.%m.%Y", "{dd}.{mm}.{yy}": "%d.%m.%y", "{m}/{d}/{y}": "%m/%d/%Y", "{mm}/{dd}/{yy}": "%m/%d/%y",
    "{y}{mm}{dd}": "%Y%m%d", "{d} {mon} '{yy}": "%d %b '%y", "{day} {mon} {d} {y}": "%a %b %d %Y",
    "{weekday}, {month} {d}, {y}": "%A, %B %d, %Y",
}  # fmt: skip


def corpus(directory, options=(), **files):
    for name, content in files.items():
        split, _, language = name.partition("_")
        (directory / f"{split}.{language}").write_bytes(content.encode() if isinstance(content, str) else content)
    return load_corpus("files", directory, ReadingConfig(**{"max_words": 6, "max_length": 8, **dict(options)}))


def test_dates_are_those_that_pythons_parser_reads():
    for form, code in PARSED.items():
        assert form in dates.FORMATS
        for day in (date(1969, 3, 9), date(2024, 2, 29), date(1999, 12, 31)):
            assert datetime.strptime(dates.written(day, form), code).date() == day


def test_ordinal_numbers():
    assert [dates.abbreviated(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th"]
    )
    assert [dates.ordinal(n) for n in (1, 12, 19, 20, 21, 30, 31)] == (
        ["first", "twelfth", "nineteenth", "twentieth", "twenty-first", "thirtieth", "thirty-first"]
    )
    day = date(2023, 9, 27)
    assert dates.written(day, dates.FORMATS[-2]) == "Wednesday the twenty-seventh of September, 2023"


def test_splits_share_no_date_and_depend_on_the_seed_alone():
    splits = dates.generate(3)
    assert {split: len(pairs) for split, pairs in splits.items()} == dates.SIZES
    days = [iso for pairs in splits.values() for _, iso in pairs]
    assert len(set(days)) == len(days)
    assert all(dates.FIRST <= date.fromisoformat(iso) <= dates.LAST for iso in days)
    assert dates.generate(3) == splits
    assert dates.generate(4) != splits


def test_no_date_is_written_as_another_is():
    """Of twelve years whose last two figures could be a month or a day too."""
    read: dict[str, date] = {}
    for number in range((date(2013, 1, 1) - date(2001, 1, 1)).days):
        day = date(2001, 1, 1) + timedelta(number)
        for form in dates.FORMATS:
            assert read.setdefault(dates.written(day, form, str.lower), day) == day


def test_dates_are_encoded_character_by_character():
    found = load_corpus("dates", None, ReadingConfig())
    assert set("".join(found.target.tokens[len(SPECIAL) :])) == set("0123456789-")
    for split, part in found.splits.items():
        assert part.target.shape == (dates.SIZES[split], 12)
        row = part.source[5, : part.lengths[5]]
        assert (found.source.decode(row), found.target.decode(part.target[5, 1:])) == part.texts[5]
        assert (part.source[5, part.lengths[5] :] == PAD).all()
        assert UNKNOWN not in part.source


def test_words_are_the_most_frequent_and_give_the_sentence_back():
    texts = ["A dog, a dog.", "Ein  Hund's a dog!"]  # of those that are there once, the first of the alphabet
    found = vocabulary(texts, words=True, limit=5)
    assert found.tokens == (*SPECIAL, " dog", " a", " A", " Ein", " Hund")
    numbers = found.encode("a dog, the dog")
    assert numbers == [5, 4, UNKNOWN, UNKNOWN, 4]
    assert found.decode([*numbers, END, 4]) == "a dog <unk> <unk> dog"
    whole = vocabulary(texts, words=True, limit=None)
    assert [whole.decode(whole.encode(text)) for text in texts] == ["A dog, a dog.", "Ein Hund's a dog!"]


def test_rows_are_padded():
    words = vocabulary(["a b c"], words=True, limit=None)
    found = sentences([("a b c", "b"), ("c", "a b")], words, words)
    np.testing.assert_array_equal(found.source, [[4, 5, 6], [6, PAD, PAD]])
    np.testing.assert_array_equal(found.lengths, [3, 1])
    np.testing.assert_array_equal(found.target, [[START, 5, END, PAD], [START, 4, 5, END]])
    assert {array.dtype for array in (found.source, found.lengths, found.target)} == {np.dtype(np.int32)}


def test_files_are_read_by_split_and_language(tmp_path):
    found = corpus(tmp_path, train_de="ein Hund\nein Mann\n", train_en="a dog\na man\n", val_de="Hund", val_en="cat")
    assert found.source.tokens == (*SPECIAL, " ein", " Hund", " Mann")
    assert found.splits["val"].texts == [("Hund", "cat")]
    np.testing.assert_array_equal(found.splits["val"].target, [[START, UNKNOWN, END]])
    assert list(found.splits) == ["train", "val"]
    digest = found.digest
    assert list(corpus(tmp_path, test_de="ein\n", test_en="a\n").splits) == ["train", "val", "test"]
    assert corpus(tmp_path).digest != digest


def test_words_that_are_rare_are_unknown_and_capital_letters_can_be_left_aside(tmp_path):
    files = {"train_de": "Ein Hund\nein Mann\n", "train_en": "A dog\na man\n", "val_de": "Ein Hund", "val_en": "A dog"}
    found = corpus(tmp_path, {"lowercase": True, "min_count": 2}, **files)
    assert found.source.tokens == (*SPECIAL, " ein")
    assert found.splits["val"].translations == ["a dog"]
    assert found.source.encode("EIN Hund") == [4, UNKNOWN]
    assert corpus(tmp_path, {"min_count": 2}).target.tokens == SPECIAL
    with pytest.raises(ValueError, match="--min-count must be 1 or more, got 0"):
        ReadingConfig(min_count=0)


@pytest.mark.parametrize(("source", "target", "message"), [
    (b"a\nb\nc\n", b"a\nb\n", "a.de has 3 lines and {}a.en 2: line 3 of {}a.de is a translation of none"),
    (b"a\nb\n", b"a\nb\n\nd\n", "a.en, line 3 is empty"),
    (b"", b"a\n", "a.de is empty: a sentence on each line is expected"),
    (b"a\n", b" \n\n", "a.en is empty"),
    (b"a\n", b"a\nb\xe9\n", "a.en, line 2: byte 3 is 0xe9, which is no UTF-8"),
])  # fmt: skip
def test_files_that_cannot_be(tmp_path, source, target, message):
    (tmp_path / "a.de").write_bytes(source)
    (tmp_path / "a.en").write_bytes(target)
    with pytest.raises(ValueError, match=re.escape(message.format(f"{tmp_path}/", f"{tmp_path}/"))):
        read_parallel(tmp_path / "a.de", tmp_path / "a.en")


def test_sentences_too_long_are_named(tmp_path):
    message = rf"{tmp_path}/val.en, line 2 has 9 tokens, more than --max-length 8: raise that"
    with pytest.raises(ValueError, match=message):
        corpus(tmp_path, train_de="a\nb", train_en="a\nb", val_de="a\nb", val_en="a\na b c d e f g h.")


def test_one_pair_is_too_little_to_train_on(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}/train.de holds a single line: a sentence on each of several"):
        corpus(tmp_path, train_de="ein Hund\n", train_en="a dog\n", val_de="ein Mann", val_en="a man")


@pytest.mark.parametrize(("name", "directory", "message"), [
    ("date", None, "unknown corpus 'date'; did you mean dates"),
    ("dates", "here", "--data dates makes its own: it takes no --data-dir, got here"),
    ("files", None, "--data files needs --data-dir"),
])  # fmt: skip
def test_sources_that_cannot_be(name, directory, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(name, directory, ReadingConfig())


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"val\.de"):
        corpus(tmp_path, train_de="a", train_en="b")


def merged(words, count):
    """Byte-pair encoding after the paper, section 3.2: the pairs that are joined, and the parts of each word."""
    parts, known, pairs = {word: list(word) for word in words}, sorted(set("".join(words))), []
    for _ in range(count):
        counts = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(parts[word]):
                counts[pair] += times
        oldest = lambda pair: [-known.index(part) for part in pair]  # of pairs as frequent
        pairs.append(max(counts, key=lambda pair: (counts[pair], oldest(pair))))
        known.append("".join(pairs[-1]))
        parts = {word: joined(split, pairs[-1]) for word, split in parts.items()}
    return pairs, parts


def joined(split, pair):
    found = []
    for part in split:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return found


def test_parts_of_words_are_joined_as_the_paper_says():
    words = {" low": 50, " lowest": 20, " newer": 61, " wider": 34}
    texts = [word for word, count in words.items() for _ in range(count)]
    characters = len(set("".join(words)))
    found = vocabulary(texts, words=True, subwords=True, limit=characters + 7)
    pairs, parts = merged(words, 7)
    assert found.merges == tuple(pairs)
    assert found.tokens == (*SPECIAL, *sorted(set("".join(words))), *("".join(pair) for pair in pairs))
    assert [found.split(word) for word in words] == list(parts.values())
    assert found.pieces("lower  xlow") == [" lower", " xlow"]
    assert found.split("lower  xlow") == [" low", "er", " ", "x", "l", "ow"]
    numbers = found.encode("Lower now")
    assert numbers[:2] == [found.tokens.index(" "), UNKNOWN]
    assert found.decode(found.encode("lower wide")) == "lower wide"
    assert read_vocabulary(json.loads(json.dumps(dataclasses.asdict(found)))) == found
    with pytest.raises(ValueError, match=f"--max-words 3: the texts have {characters} characters"):
        vocabulary(texts, words=True, subwords=True, limit=3)
    everything = vocabulary(texts, words=True, subwords=True)
    assert vocabulary(texts, words=True, subwords=True, limit=2**31) == everything
    assert [everything.split(word) for word in words] == [[word] for word in words]
    with pytest.raises(ValueError, match="--min-count 1000: no pair of characters is there as often"):
        vocabulary(texts, words=True, subwords=True, min_count=1000)


def test_files_are_read_by_parts_of_words(tmp_path):
    files = {"train_de": "ein Hund\nein Hunde\n", "train_en": "a dog\na dogs\n", "val_de": "Hunde", "val_en": "dogs"}
    found = corpus(tmp_path, {"subwords": True, "max_words": 14}, **files)
    val = found.splits["val"]
    assert val.texts == [("Hunde", "dogs")]
    assert found.source.decode(val.source[0]) == "Hunde"
    assert found.target.decode(val.target[0, 1:]) == "dogs"
    assert 1 < val.lengths[0] < len(" Hunde")


def test_without_the_library_parts_of_words_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(RunError, match=r'parts of words need tokenizers: pip install -e ".\[translation\]"'):
        vocabulary(["ein Hund"], words=True, subwords=True)
