"""An LSTM over the rows of an image."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

CASE = Case("torch", (3, 32, 32))

FAMILY = Family(
    title="LSTM over rows",
    inference={"lstm_rows": CASE},
    short={"lstm_rows": CASE},
    networks={"lstm_rows": partial(jv.create_model, "lstm_rows")},
    tiny={"lstm_rows": Tiny(partial(jv.create_model, "lstm_rows", hidden=8, image_size=8))},
    stands_for=lambda name: (name, name),
    counts={"lstm_rows": 4 * 128 * (96 + 128 + 2) + 4 * 128 * (128 + 128 + 2) + (128 + 1) * 10},
)
