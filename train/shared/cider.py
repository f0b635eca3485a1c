"""CIDEr-D: how well captions agree with what people say of an image.

Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based image description evaluation", https://arxiv.org/abs/1411.5726,
section 5, with the constants of https://github.com/tylin/coco-caption, which counts words in n-grams as they are.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # words of difference in length
SCALE = 10.0

Gram = tuple[str, ...]
Grams = Counter[Gram]


def cider(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns the mean CIDEr-D of captions, 0 to 10.

    Args:
        written: N captions, words with spaces between them.
        references: N lists of captions; how rare words are is counted among them.

    Raises:
        ValueError: there are not as many lists as captions, or one of them is empty.
    """
    scores = scores_by_caption(written, references)
    return sum(scores) / len(scores)


def scores_by_caption(written: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Returns the score of each caption; takes what `cider` takes."""
    if not written or len(written) != len(references) or not all(references):
        raise ValueError(f"{len(written)} captions need as many lists of one reference or more, got {len(references)}")
    counted = [[_grams(text) for text in several] for several in references]
    images_with = Counter(gram for several in counted for gram in set().union(*several))
    rarity = lambda gram: math.log(len(written) / max(1, images_with[gram]))
    scores = []
    for text, several in zip(written, counted, strict=True):
        said = _grams(text)
        scores.append(sum(_similarity(said, right, rarity) for right in several) / len(several))
    return scores


def _grams(text: str) -> Grams:
    words = text.split()
    return Counter(tuple(words[start : start + n]) for n in _sizes() for start in range(len(words) - n + 1))


def _similarity(said: Grams, right: Grams, rarity: Callable[[Gram], float]) -> float:
    """Returns the score of a caption against one reference."""
    longer = _words(said) - _words(right)
    cosines = [_clipped_cosine(*(_weights(grams, n, rarity) for grams in (said, right))) for n in _sizes()]
    return SCALE * math.exp(-(longer**2) / (2 * SIGMA**2)) * sum(cosines) / LONGEST


def _weights(grams: Grams, n: int, rarity: Callable[[Gram], float]) -> dict[Gram, float]:
    return {gram: count * rarity(gram) for gram, count in grams.items() if len(gram) == n}


def _clipped_cosine(said: dict[Gram, float], right: dict[Gram, float]) -> float:
    """Returns the cosine, but that nothing counts more often than the reference has it."""
    norms = math.hypot(*said.values()) * math.hypot(*right.values())
    products = (min(weight, right.get(gram, 0.0)) * right.get(gram, 0.0) for gram, weight in said.items())
    return sum(products) / (norms or 1)


def _words(grams: Grams) -> int:
    return sum(count for gram, count in grams.items() if len(gram) == 1)


def _sizes() -> range:
    return range(1, LONGEST + 1)
