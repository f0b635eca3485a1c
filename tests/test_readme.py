"""The README tells the truth: its table is the one that tests and runs give, and no mark stands without proof."""

import jaxvision as jv
from tests.proofs import BEGIN, README, marks, with_table


def test_table_of_models_is_the_generated_one():
    text = README.read_text()
    assert BEGIN in text
    assert with_table(text) == text, "run: python -m tests.proofs --write"


def test_every_model_is_proven():
    assert all(all(marks(name)) for name in jv.list_models())
