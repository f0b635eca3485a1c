"""Scenes of real handwritten digits and what can be said of them: captions that need no download.

One or two groups of one or two digits, each group small or large: "a large three above two small sevens", which is as
well "two small sevens below a large three". The digits of a split are those of that split of `train.data.digits`.
Shapes: N images, S height and width of a scene.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from train.data import digits
from train.data.images import Split, resize

SIZES = {"train": 8_000, "val": 500, "test": 1_000}
SCENE, SLOT = 24, 12  # pixels
SMALL, LARGE = (8, 8), (11, 12)  # height and width of a digit, from and to
ALONE = 0.2  # share of the scenes with one group
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS = {("left of", "right of"): 1, ("above", "below"): 0}  # and the axis of the image that they are about


class Group(NamedTuple):
    """Digits of one kind and size."""

    digit: int
    count: int
    large: bool

    def __str__(self) -> str:
        """What it is called."""
        name = NAMES[self.digit]
        plural = name + ("es" if name.endswith("x") else "s")
        size = "large" if self.large else "small"
        return f"a {size} {name}" if self.count == 1 else f"two {size} {plural}"


def generate(seed: int) -> dict[str, tuple[Split, list[list[str]]]]:
    """Returns the scenes of each split, their labels counting them, and the captions of each scene."""
    data = digits.load(None, 8)
    found = {}
    for number, (name, size) in enumerate(SIZES.items()):
        random, pool = np.random.RandomState([seed, number]), getattr(data, name)
        scenes = [scene(random, pool) for _ in range(size)]
        images, captions = zip(*scenes, strict=True)
        found[name] = Split(np.stack(images)[..., None], np.arange(size, dtype=np.int32)), list(captions)
    return found


def scene(random: np.random.RandomState, pool: Split) -> tuple[np.ndarray, list[str]]:  # -> uint8 [S, S]
    """Draws a scene of digits of a pool, and says what it shows in each way there is."""
    kinds = random.choice(10, 2, replace=False)
    groups = [Group(int(kind), 1 + random.randint(2), random.rand() < 0.5) for kind in kinds]
    canvas = np.zeros((SCENE, SCENE), np.uint8)
    if random.rand() < ALONE:
        corners = random.permutation(4)[: groups[0].count]
        _paint(canvas, groups[0], [divmod(int(corner), 2) for corner in corners], random, pool)
        return canvas, [str(groups[0])]
    (forward, back), axis = list(RELATIONS.items())[random.randint(2)]
    for side, group in enumerate(groups):
        along = (0, 1) if group.count == 2 else (0.5,)  # a single digit in the middle: beside, and not across
        _paint(canvas, group, [(place, side) if axis else (side, place) for place in along], random, pool)
    first, second = groups
    return canvas, [f"{first} {forward} {second}", f"{second} {back} {first}"]


def _paint(
    canvas: np.ndarray,
    group: Group,
    places: Sequence[tuple[float, float]],
    random: np.random.RandomState,
    pool: Split,
) -> None:
    """Paints the digits of a group, each somewhere within a slot; places are in slots from the upper left corner."""
    least, most = LARGE if group.large else SMALL
    for place in places:
        member = random.choice(np.flatnonzero(pool.labels == group.digit))
        size = random.randint(least, most + 1)
        top, left = (int(SLOT * at) + random.randint(SLOT - size + 1) for at in place)
        canvas[top : top + size, left : left + size] = resize(pool.images[member, ..., 0], size)[..., 0]
