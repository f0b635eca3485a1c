"""Inception v3."""

from functools import partial

import jaxvision as jv
from jaxvision.cnn.inception import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 75, 75))  # the smallest

ONE_OF_EACH_KIND = (
    (("5b", InceptionA, 32),),
    (("6a", InceptionB, 0), ("6b", InceptionC, 128)),
    (("7a", InceptionD, 0), ("7b", InceptionE, 0)),
)
short = partial(jv.create_model, "inception_v3", stages=ONE_OF_EACH_KIND, dropout=0.0)

FAMILY = Family(
    title="Inception v3",
    inference={"inception_v3": CASE},
    short={"inception_v3_short": CASE},
    networks={"inception_v3_short": short},
    tiny={"inception_v3_short": Tiny(short, size=75)},
    stands_for=lambda name: ("inception_v3_short", "inception_v3_short"),
    counts={"inception_v3": 27_161_264},  # what torchvision publishes with its weights
)
