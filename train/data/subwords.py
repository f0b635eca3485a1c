"""Words as parts that are frequent, by byte-pair encoding: no word is unknown whose characters are known.

Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with subword units",
https://arxiv.org/abs/1508.07909; learnt and applied by Hugging Face's tokenizers.
"""

import json
from collections.abc import Mapping, Sequence
from types import ModuleType

from train.shared.run import RunError

Merges = tuple[tuple[str, str], ...]


def learn_subwords(
    counts: Mapping[str, int], special: Sequence[str], min_count: int, limit: int | None
) -> tuple[tuple[str, ...], Merges]:
    """Learns the parts of words: their characters, then what the most frequent pair of parts makes, again and again.

    Args:
        counts: how often each word is there.
        special: tokens that are no parts of words, the first of the vocabulary; the last is for unknown characters.
        min_count: how often a pair is there that is joined, at the least.
        limit: most parts; None for no limit.

    Returns:
        The tokens, and the pairs in the order in which they are joined.

    Raises:
        ValueError: the words have more different characters than `limit` allows parts, or no pair is there so often.
        RunError: tokenizers is not installed.
    """
    library = _tokenizers()
    characters = len(set("".join(counts)))
    if limit is not None and limit <= characters:
        raise ValueError(f"--max-words {limit}: the texts have {characters} characters, parts of words are more")
    most = characters + sum(map(len, counts))  # each pair that is joined is one fewer; the library makes room for all
    learnt = library.Tokenizer(library.models.BPE(unk_token=special[-1]))
    trainer = library.trainers.BpeTrainer(
        vocab_size=len(special) + (most if limit is None else min(limit, most)),
        min_frequency=min_count,
        special_tokens=list(special),
        show_progress=False,
    )
    learnt.train_from_iterator((word for word, count in counts.items() for _ in range(count)), trainer)
    places = learnt.get_vocab()
    merges = json.loads(learnt.to_str())["model"]["merges"]
    if not merges:
        raise ValueError(f"--min-count {min_count}: no pair of characters is there as often, so words have no parts")
    return tuple(sorted(places, key=places.get)), tuple((first, second) for first, second in merges)


class Subwords:
    """Cuts words into the parts that were learnt."""

    def __init__(self, tokens: Sequence[str], merges: Merges, unknown: str):
        """Takes what `learn_subwords` gives; `unknown` is the token of unknown characters.

        Raises:
            RunError: tokenizers is not installed.
        """
        library = _tokenizers()
        places = {token: place for place, token in enumerate(tokens)}
        self._encode = library.Tokenizer(library.models.BPE(places, list(merges), unk_token=unknown)).encode

    def split(self, words: Sequence[str]) -> list[str]:
        """Returns the parts of all words, unknown characters as they stand."""
        found = self._encode(words, is_pretokenized=True)
        return [words[word][first:last] for word, (first, last) in zip(found.word_ids, found.offsets, strict=True)]


def _tokenizers() -> ModuleType:
    try:
        import tokenizers
    except ImportError as error:
        raise RunError('parts of words need tokenizers: pip install -e ".[translation]"') from error
    return tokenizers
