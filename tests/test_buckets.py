"""Batches of sequences that are about as long: which examples, how wide, and how little padding."""

import itertools

import numpy as np
import pytest

from train.shared.buckets import Buckets, least_padding

RANDOM = np.random.RandomState(0)
LENGTHS = RANDOM.randint(3, 30, (5007, 2))


def padded(lengths, bounds):
    return sum(min(bound for bound in bounds if bound >= length) for length in lengths)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_bounds_leave_the_least_padding(most):
    lengths = RANDOM.geometric(0.2, 60) + 2
    there = sorted(set(lengths.tolist()))
    choices = (
        (*others, there[-1])
        for count in range(min(most, len(there)))
        for others in itertools.combinations(there[:-1], count)
    )
    found = least_padding(lengths, most)
    assert len(found) <= most
    assert padded(lengths, found) == min(padded(lengths, bounds) for bounds in choices)


def test_with_a_bucket_for_each_length_nothing_is_padded():
    np.testing.assert_array_equal(least_padding(np.array([4, 9, 4, 7]), 5), [4, 7, 9])


def test_every_epoch_has_each_example_once_and_leaves_out_a_few_of_the_longest():
    order = Buckets(LENGTHS, 20, seed=3, multiple=4)
    epochs = [
        [order(step)[0] for step in range(first, first + order.steps_per_epoch)] for first in (0, order.steps_per_epoch)
    ]
    for batches in epochs:
        seen = np.concatenate(batches)
        assert len(set(seen)) == len(seen) > len(LENGTHS) - 20
        left_out = np.delete(np.arange(len(LENGTHS)), seen)
        assert LENGTHS[left_out].max(1).min() > order.widths[-2].max()
    assert not np.array_equal(np.sort(epochs[0][0]), np.sort(epochs[1][0]))
    assert len({len(batch) for batch in epochs[0]}) > 1
    assert all(len(batch) % 4 == 0 for batch in epochs[0])
    assert len(LENGTHS) / order.steps_per_epoch == pytest.approx(20, rel=0.1)


def test_batches_are_as_wide_as_their_bucket_and_as_many_tokens_are_written_in_each():
    order = Buckets(LENGTHS, 50, seed=0)
    written = {}
    for step in range(order.steps_per_epoch):
        chosen, width = order(step)
        assert (LENGTHS[chosen] <= width).all()
        written.setdefault(tuple(width), []).append(LENGTHS[chosen, 1].sum())
    assert set(written) == set(map(tuple, order.widths))
    for tokens in written.values():
        assert np.mean(tokens) == pytest.approx(50 * LENGTHS[:, 1].mean(), rel=0.03)


def test_the_order_is_of_the_seed_and_the_step_alone():
    first, second, other = Buckets(LENGTHS, 20, 1), Buckets(LENGTHS, 20, 1), Buckets(LENGTHS, 20, 2)
    for step in (400, 3, 700, 0):
        for found, expected in zip(first(step), second(step), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert any(not np.array_equal(first(step)[0], other(step)[0]) for step in range(3))


def test_too_few_examples():
    with pytest.raises(ValueError, match="--batch-size 8 is larger than the training set of 5 examples"):
        Buckets(LENGTHS[:5], 8, 0, multiple=8)
