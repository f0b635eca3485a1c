"""What models are given that turn one sequence into another. Shapes: B pairs, S source tokens, T target tokens."""

from typing import NamedTuple

import jax


class Pairs(NamedTuple):
    """Sentences and their translations.

    Attributes:
        source: int [B, S].
        lengths: int [B], tokens of each source; what follows them does not count.
        target: int [B, T], what the decoder is given: a token that stands for the beginning, and the translation.
    """

    source: jax.Array
    lengths: jax.Array
    target: jax.Array
