"""The README tells the truth: its tables are those that tests and runs give, and no mark stands without proof."""

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from tests.proofs import BEGIN, END, README, SEQUENCE_MODELS, counts, family_table, marks, records, sequences_table
from tests.reference import cases
from tests.reference.families import FAMILIES


def tables():
    """What stands between the marks in the README."""
    return README.read_text().partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]


def counts_there(name):
    """What the tables say of parameters and multiply-adds."""
    line = next(line for line in tables().splitlines() if line.startswith(f"|`{name}`|"))
    return tuple(line.split("|")[2:4])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_table_of_a_family_is_the_generated_one(family):
    assert family_table(family, *records(), counts_there) in tables(), "run: python -m tests.proofs --write"


def test_table_of_models_of_sequences_is_the_generated_one():
    assert sequences_table(records()[1]) in tables(), "run: python -m tests.proofs --write"


@pytest.mark.parametrize("name", cases.others_in_slow_set(cases.first_of_each_family()))
def test_counts(name):
    assert counts_there(name) == counts(name)


def test_there_is_no_other_table():
    titles = [line.partition("<summary>")[2] for line in tables().splitlines() if line.startswith("<details>")]
    families = [f"{family.title} ({len(family.inference)})</summary>" for family in FAMILIES]
    assert titles == [*families, f"Models of sequences ({len(SEQUENCE_MODELS)})</summary>"]


def test_every_model_is_proven():
    assert all(all(marks(name)) for name in jv.list_models())
    assert all(all(model.marks()) for model in SEQUENCE_MODELS)


def test_transformers_of_sequences_are_built_as_it_says(monkeypatch):
    """Files apart, which are not there, and in shapes alone."""
    (block,) = (part for part in README.read_text().split("```") if "gpt.gpt2()" in part)
    zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)
    monkeypatch.setattr(jv, "load_weights", lambda model, file: jax.tree.map(zeros, abstract_variables(model)))
    sequences = {name: jnp.zeros((2, 3), int) for name in ("tokens", "source", "target")}

    def run():
        found = {"jv": jv, "lengths": jnp.full(2, 3), **sequences}
        exec(block.removeprefix("python"), found)
        return found["logits"]

    assert jax.eval_shape(run).shape == (2, 3, 58101)
