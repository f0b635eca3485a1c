"""The multilayer perceptron."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torch", (3, 32, 32))

FAMILY = Family(
    title="Multilayer perceptron",
    inference={"mlp": CASE},
    short={"mlp": CASE},
    networks={"mlp": partial(jv.create_model, "mlp")},
    tiny={"mlp": Tiny(partial(jv.create_model, "mlp", widths=(16, 8), image_size=8))},
    stands_for=lambda name: (name, name),
    counts={"mlp": (3_072 + 1) * 512 + (512 + 1) * 512 + (512 + 1) * 10},
)
