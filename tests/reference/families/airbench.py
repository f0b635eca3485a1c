"""airbench94."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("airbench", (3, 32, 32))

FAMILY = Family(
    title="airbench",
    inference={"airbench94": CASE},
    short={"airbench": CASE},
    networks={"airbench": partial(jv.create_model, "airbench94", widths=(8, 16, 16))},
    tiny={"airbench": Tiny(partial(jv.create_model, "airbench94", widths=(8, 8)))},
    stands_for=lambda name: ("airbench", "airbench"),
)
