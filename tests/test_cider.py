"""CIDEr-D against the numbers of the published implementation, https://github.com/tylin/coco-caption."""

import pytest

from train.shared.cider import cider, scores_by_caption

CASES = [  # a caption, its references, and its score among all of these
    (
        "a large three left of two small sevens",
        ["a large three left of two small sevens", "two small sevens right of a large three"],
        7.111199436391635,
    ),
    ("two two", ["two small twos", "a two beside a two", "two twos"], 0.9780906735208356),
    (
        "a man rides a horse on the beach",
        ["a man riding a horse on the beach", "a person rides a brown horse along the beach near the water"],
        3.818939118416953,
    ),
    ("the dog the dog the dog runs", ["the dog runs", "a brown dog runs across the grass"], 1.6501827530766),
    ("cat", ["a cat", "a cat sits on a mat", "cat"], 1.9869834293061897),
    (
        "a plate of food with a fork beside it on a wooden table",
        ["food on a plate with a fork on a wooden table"],
        4.202909744221014,
    ),
]
MEAN = 3.2913841924888714


def test_scores_are_those_of_the_published_implementation():
    written, references, expected = zip(*CASES, strict=True)
    assert scores_by_caption(written, references) == pytest.approx(expected, rel=1e-12)
    assert cider(written, references) == pytest.approx(MEAN, rel=1e-12)


def test_what_is_said_of_every_image_is_worth_nothing():
    assert scores_by_caption(["a b", "a c"], [["a b"], ["a d"]]) == pytest.approx([10 * 2 / 4, 0])
    assert cider([""], [["a"]]) == 0


@pytest.mark.parametrize(("written", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_captions_without_references(written, references):
    with pytest.raises(ValueError, match="need as many lists of one reference or more"):
        cider(written, references)
