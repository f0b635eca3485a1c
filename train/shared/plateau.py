"""Where a metric no longer rises: the learning rate is divided, as AlexNet's paper did by hand, or the run ends."""

import math
from collections.abc import Iterable, Sequence


def plateaus(values: Iterable[float], patience: int) -> int:
    """Counts how often a metric has been without a new highest value for so many records in a row.

    After each such time the count of records begins anew, and the highest value stays. NaN is lower than any number.
    PyTorch's ReduceLROnPlateau with `threshold=0` and a patience lower by one does the same.
    """
    best, since, count = -math.inf, 0, 0
    for value in values:
        if value > best:
            best, since = value, 0
        else:
            since += 1
        if since == patience:
            since, count = 0, count + 1
    return count


def since_best(values: Sequence[float]) -> int:
    """Counts the values after the first that is highest; NaN is lower than any number."""
    values = [-math.inf if math.isnan(value) else value for value in values]
    return len(values) - 1 - values.index(max(values)) if values else 0
