"""RegNet."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 32, 32), r"trunk_output\.block\d\.block\d-\d+\.f\.c\.1\.weight")
SHORT = Case("torchvision", (3, 24, 20), CASE.damped)

COUNTS = {  # what torchvision publishes with its weights
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_8gf": 39_381_472,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_32gf": 145_046_770,
    "regnet_y_128gf": 644_812_894,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
}

two_stages = {"depths": (2, 1), "widths": (16, 32), "group_widths": (8, 16)}

FAMILY = Family(
    title="RegNet",
    inference=dict.fromkeys(COUNTS, CASE),
    short={"regnet_y": SHORT, "regnet_x": SHORT},
    networks={kind: partial(jv.create_model, f"{kind}_400mf", **two_stages) for kind in ("regnet_y", "regnet_x")},
    tiny={
        "regnet_y": Tiny(
            partial(jv.create_model, "regnet_y_400mf", depths=(1, 1), widths=(8, 16), group_widths=(4, 8)), size=16
        )
    },
    stands_for=lambda name: (name[: len("regnet_y")], "regnet_y"),  # which has all parts of regnet_x
    whole=("regnet_y_400mf",),
    counts=COUNTS,
)
