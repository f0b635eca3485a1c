"""The convolutional network of a first course."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torch", (3, 39, 39))

FAMILY = Family(
    title="A first convolutional network",
    inference={"convnet": CASE},
    short={"convnet": CASE},
    networks={"convnet": partial(jv.create_model, "convnet")},
    tiny={"convnet": Tiny(partial(jv.create_model, "convnet"), size=39)},
    stands_for=lambda name: (name, name),
    counts={"convnet": 280 + 5_020 + 20_040 + 19_610},  # (3 3 3 + 1) 10, (5 5 10 + 1) 20, (5 5 20 + 1) 40, 1,961 10
)
