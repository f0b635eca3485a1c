"""How good texts are that a model wrote, beside those that were asked for."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from train.shared.run import RunError

Score = Callable[[Sequence[str], Sequence[str]], float]


def exact(written: Sequence[str], expected: Sequence[str]) -> float:
    """Returns the share of texts that are what was asked for to the letter."""
    return float(np.mean([said == right for said, right in zip(written, expected, strict=True)]))


def bleu(written: Sequence[str], expected: Sequence[str]) -> float:
    """Returns sacreBLEU's score of texts with its default tokenizer, 0 to 100.

    Raises:
        RunError: sacrebleu is not installed.
    """
    return bleu_of_any(written, [[text] for text in expected])


def exact_of_any(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns the share of texts that are one of their references to the letter."""
    return float(np.mean([said in several for said, several in zip(written, references, strict=True)]))


def bleu_of_any(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns the score, as `bleu` does, where each text has one reference or more."""
    try:
        import sacrebleu
    except ModuleNotFoundError as error:
        raise RunError('BLEU is measured by sacrebleu: pip install -e ".[translation]"') from error
    streams = itertools.zip_longest(*references)  # the first of each text, the second, and None where there is none
    return sacrebleu.corpus_bleu(list(written), [list(stream) for stream in streams]).score


def scores_by_length(
    written: Sequence[str], expected: Sequence[str], lengths: np.ndarray, score: Score
) -> dict[str, tuple[float, int]]:
    """Returns the score of the texts made of 1 to 10 tokens, 11 to 20 and so on, and their number.

    Args:
        written, expected: N texts each.
        lengths: int [N], the tokens that each was made of.
        score: of any number of texts.
    """
    found, groups = {}, (lengths - 1) // 10
    for group in np.unique(groups).tolist():
        members = np.flatnonzero(groups == group)
        value = score([written[n] for n in members], [expected[n] for n in members])
        found[f"{10 * group + 1}–{10 * group + 10}"] = value, len(members)
    return found
