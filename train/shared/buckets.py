"""Batches of sequences that are about as long: little of them is padding, and they have one of a few shapes.

Shapes: N examples, A sequences of each (a sentence and its translation, or a caption alone), K buckets, B batch.
"""

import functools

import numpy as np


class Buckets:
    """The examples of each step, and how wide their sequences are: every epoch a new permutation.

    An example belongs to a bucket by its longest sequence. Batches hold fewer examples where they are longer: each step
    has about as many tokens to be written, so that every token counts about as much. Examples of a bucket that do not
    fill a batch go to the next wider one, and of the widest they are left out. A pure function of the seed and the
    step, so that a run can stop and go on anywhere.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, *, multiple: int = 1, most: int = 4):
        """Divides examples into buckets.

        Args:
            lengths: int [N, A], the last of what is to be written.
            batch_size: the mean of B.
            seed: of the order.
            multiple: what each B is one of.
            most: buckets, and so shapes of a batch.

        Raises:
            ValueError: there are too few examples for one batch.
        """
        longest = lengths.max(1)
        bounds = least_padding(longest, most)
        self._seed, self._bucket = seed, np.searchsorted(bounds, longest)  # [N]
        counts = np.bincount(self._bucket)
        by_bucket = [lengths[self._bucket == bucket].max(0) for bucket in range(len(bounds))]
        self.widths = np.maximum.accumulate(by_bucket)  # [K, A]
        written = np.bincount(self._bucket, lengths[:, -1]) / counts
        sizes = batch_size * lengths[:, -1].mean() / written
        sizes = np.maximum(np.rint(sizes / multiple), 1).astype(int) * multiple
        self._stops, self._kinds = _cut(counts, sizes)
        self.steps_per_epoch = len(self._kinds)
        if not self._kinds:
            raise ValueError(f"--batch-size {batch_size} is larger than the training set of {len(longest)} examples")
        self._batches = functools.lru_cache(maxsize=2)(self._shuffle)  # threads ask for steps of two epochs at a time

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices [B] of the examples of a step, and the width [A] of each of their sequences."""
        epoch, position = divmod(step, self.steps_per_epoch)
        indices, bucket = self._batches(epoch)[position]
        return indices, self.widths[bucket]

    def _shuffle(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        random = np.random.RandomState(np.random.SeedSequence([self._seed, epoch]).generate_state(4))
        order = random.permutation(len(self._bucket)).astype(np.int32)
        order = order[np.argsort(self._bucket[order], kind="stable")]
        batches = list(zip(np.split(order, self._stops), self._kinds, strict=False))  # the last part is left out
        return [batches[number] for number in random.permutation(len(batches))]


def _cut(counts: np.ndarray, sizes: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns where each batch stops among examples in the order of their buckets, and of which bucket it is."""
    stops, kinds, stop = [], [], 0
    for bucket, end in enumerate(np.cumsum(counts).tolist()):
        while stop + sizes[bucket] <= end:
            stop += int(sizes[bucket])
            stops.append(stop)
            kinds.append(bucket)
    return stops, kinds


def least_padding(lengths: np.ndarray, most: int) -> np.ndarray:  # [N] -> [K]
    """Returns the bounds of so many groups of lengths, or fewer, that need the least padding up to their bounds.

    By dynamic programming over the lengths that there are: the best groups of those up to each, then with one more.
    """
    bounds, counts = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = np.where(np.arange(len(below)) == 0, 0.0, np.inf)  # of no group at all
    chosen = []
    for _ in range(min(most, len(bounds))):
        with_last = cost[:-1, None] + (below[None, 1:] - below[:-1, None]) * bounds  # [start, end] of the last group
        with_last = np.where(np.tri(len(bounds), dtype=bool).T, with_last, np.inf)
        chosen.append(with_last.argmin(0))
        cost = np.concatenate([[np.inf], with_last.min(0)])
    found, end = [], len(bounds)
    for starts in reversed(chosen):
        found.append(bounds[end - 1])
        end = starts[end - 1]
    return np.array(found[::-1])
