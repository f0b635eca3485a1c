"""The table of models in the README: what is proven of each, and the test or the run behind every mark.

`python -m tests.proofs --write` makes it anew; `tests/test_readme.py` fails where it does not stand in the README.
"""

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import jaxvision as jv
from jaxvision.summary import summarize, totals
from tests import test_export, test_gradients, test_mesh
from tests.reference import cases
from tests.reference.case import Family
from tests.reference.families import FAMILIES
from train.configs.digits import SCORES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BENCHMARKS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- models: python -m tests.proofs --write -->", "<!-- end of models -->"


def parametrized(test) -> list[str]:
    """Returns the names that a test is run for."""
    values = [value for mark in test.pytestmark if mark.name == "parametrize" for value in mark.args[1]]
    return [value if isinstance(value, str) else value.values[0] for value in values]  # bare, or with a mark


def marks(name: str) -> list[bool]:
    """Returns which proofs a model has: outputs, gradients, lowering, devices."""
    short, tiny = cases.stands_for(name)
    lowered = all(name in parametrized(t) for t in (test_export.test_forward_pass, test_export.test_train_step))
    return [
        cases.inference_file(name).exists(),
        cases.training_file(short).exists() and short in parametrized(test_gradients.test_training),
        lowered,
        tiny in parametrized(test_mesh.test_eight_devices_end_where_one_does),
    ]


def ratio(rows: list[dict], name: str, work: str) -> str:
    """Returns our speed as a multiple of PyTorch's best, where it was measured."""
    asked = {"model": name, "work": work, "dtype": "float32"}
    found = [row for row in rows if asked.items() <= row.items() and "ratio" in row]
    return f"{found[0]['ratio']:.2f}" if found else "not run"


def records() -> tuple[dict[str, dict], list[dict]]:
    """Returns the scores on the digits, by model, and the rows of the benchmarks."""
    scores = json.loads(SCORES.read_text()) if SCORES.exists() else {}
    files = [json.loads(file.read_text()) for file in sorted(BENCHMARKS.glob("*.json"))]
    return scores, [row for file in files for row in file.get("rows", ())]


def counts(name: str) -> tuple[str, str]:
    """Returns the parameters and the millions of multiply-adds of a model, as the table has them."""
    parameters, products = totals(summarize(jv.create_model(name)))
    return f"{parameters:,}", f"{products / 1e6:,.1f}"


def table() -> str:
    """Returns the table of each family, in Markdown, to be unfolded."""
    return "\n\n".join(family_table(family, *records()) for family in FAMILIES)


def family_table(
    family: Family, scores: dict[str, dict], rows: list[dict], counts: Callable[[str], tuple[str, str]] = counts
) -> str:
    """Returns the table of one family, from the scores on the digits and the rows of the benchmarks."""
    names = list(family.inference)
    lines = [
        f"<details><summary>{family.title} ({len(names)})</summary>",
        "",
        "| model | parameters | multiply-adds (M) | outputs | gradients | lowers | devices | digits | infer | train |",
        "|---|--:|--:|:-:|:-:|:-:|:-:|--:|--:|--:|",
    ]
    for name in names:
        proven = [" ✓ " if mark else " – " for mark in marks(name)]
        score = f"{statistics.mean(scores[name]['test_accuracy']):.1%}" if name in scores else "not run"
        cells = [f"`{name}`", *counts(name), *proven, score]
        lines.append("|".join(["", *cells, ratio(rows, name, "infer"), ratio(rows, name, "train"), ""]))
    return "\n".join([*lines, "", "</details>"])


def with_table(readme: str) -> str:
    """Returns the README with the table as it is now."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{table()}\n{END}", readme)


if __name__ == "__main__":
    text = with_table(README.read_text())
    if "--write" in sys.argv:
        README.write_text(text)
    else:
        print(table())
