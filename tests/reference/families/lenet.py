"""LeNet-5."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torch", (1, 32, 32))

FAMILY = Family(
    title="LeNet-5",
    inference={"lenet5": CASE},
    short={"lenet5": CASE},
    networks={"lenet5": partial(jv.create_model, "lenet5")},
    tiny={"lenet5": Tiny(partial(jv.create_model, "lenet5", in_channels=3), size=32)},
    stands_for=lambda name: (name, name),
    counts={"lenet5": 61_706},  # LeCun et al., 1998, every map of S2 connected to every map of C3
)
