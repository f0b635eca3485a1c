"""Handwritten digits that move: videos without a download, of classes that only the order of the frames tells apart.

Every class is another one played backwards, and every video is there both ways: of what does not see the order, half of
the answers are wrong. The digits of a split are those of that split of `train.data.digits`. Shapes: N videos, T frames,
S height and width.
"""

from collections.abc import Iterator

import numpy as np

from train.data import digits
from train.data.images import Split, resize
from train.data.video_files import filled

SIZES = {"train": 1_600, "val": 100, "test": 250}  # twice as many videos
FRAME = 32  # pixels
SHORTEST, LONGEST = 8, 12  # frames
BACKWARDS = {"right": "left", "down": "up", "clockwise": "counterclockwise", "growing": "shrinking"}
CLASSES = tuple(name for pair in BACKWARDS.items() for name in pair)
SMALL, LARGE = 10, 14  # pixels of a digit, from and to
GROWN = 20


def generate(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns, of each split, frames uint8 [N, T, S, S, 1], lengths int32 [N] and labels int32 [N]."""
    data = digits.load(None, 8)
    found = {}
    for number, (name, size) in enumerate(SIZES.items()):
        random, pool = np.random.RandomState([seed, number]), getattr(data, name)
        rows = [row for _ in range(size) for row in both_ways(random, pool)]
        frames, lengths, labels = zip(*rows, strict=True)
        found[name] = np.stack(frames)[..., None], np.array(lengths, np.int32), np.array(labels, np.int32)
    return found


def both_ways(random: np.random.RandomState, pool: Split) -> Iterator[tuple[np.ndarray, int, int]]:
    """Draws a video of a digit of a pool; yields it, its length and its label, and the same of it played backwards."""
    length, kind = random.randint(SHORTEST, LONGEST + 1), list(BACKWARDS)[random.randint(len(BACKWARDS))]
    digit = pool.images[random.randint(len(pool)), ..., 0]
    frames = np.zeros((LONGEST, FRAME, FRAME), np.uint8)
    for frame, (size, middle) in zip(frames, path(random, kind, length), strict=False):
        top, left = (round(at - size / 2) for at in middle)
        frame[top : top + size, left : left + size] = resize(digit, size)[..., 0]
    for name, played in ((kind, frames[:length]), (BACKWARDS[kind], frames[:length][::-1])):
        yield filled(played, LONGEST), length, CLASSES.index(name)


def path(random: np.random.RandomState, kind: str, length: int) -> list[tuple[int, np.ndarray]]:
    """Draws how a digit moves: its size and its middle, row and column, in each frame."""
    size, times = random.randint(SMALL, LARGE + 1), np.linspace(-0.5, 0.5, length)[:, None]
    if kind == "growing":
        middle = FRAME / 2 + random.uniform(-5, 5, 2)
        return [(round(SMALL + (GROWN - SMALL) * (0.5 + time[0])), middle) for time in times]
    room = (FRAME - size) / 2
    if kind == "clockwise":
        radius, turn = random.uniform(0.6, 0.8) * room, random.uniform(0.6, 0.9)
        angle = 2 * np.pi * (random.rand() + turn * times)  # from the right downwards, as rows are counted
        offset = radius * np.concatenate([np.sin(angle), np.cos(angle)], 1)
        middle = FRAME / 2 + random.uniform(radius - room, room - radius, 2)
    else:
        half = random.uniform(0.5, 1.0) * room
        direction = np.array([0.0, 1.0] if kind == "right" else [1.0, 0.0])
        offset = 2 * half * times * direction
        middle = FRAME / 2 + random.uniform(half - room, room - half) * direction
        middle += random.uniform(-room, room) * direction[::-1]
    return [(size, middle + moved) for moved in offset]
