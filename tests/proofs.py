"""The table of models in the README: what is proven of each, and the test or the run behind every mark.

`python -m tests.proofs --write` makes it anew; `tests/test_readme.py` fails where it does not stand in the README.
"""

import dataclasses
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


def ratio(rows: list[dict], name: str, work: str, **also: str) -> str:
    """Returns our speed as a multiple of PyTorch's best, where it was measured."""
    asked = {"model": name, "work": work, **also}
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
    """Returns the table of each family, in Markdown, to be unfolded, and that of models of sequences."""
    families = [family_table(family, *records()) for family in FAMILIES]
    return "\n\n".join([*families, sequences_table(records()[1])])


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
        cells += [ratio(rows, name, work, dtype="float32") for work in ("infer", "train")]
        lines.append("|".join(["", *cells, ""]))
    return "\n".join([*lines, "", "</details>"])


@dataclasses.dataclass(frozen=True)
class SequenceModel:
    """A model that is built for a task: what is proven of it, and how fast and good it was.

    Attributes:
        name: of its class.
        proofs: the tests of its outputs, gradients and optimizer steps, of its lowering, and of eight devices.
        run: of `train.configs`, with its options.
        score: the keys of what the run recorded, and the form of it.
        benchmark: its name among the rows of the benchmarks.
        writes: whether it writes token after token, which is measured too.
    """

    name: str
    proofs: tuple[str, str, str]
    run: str
    score: tuple[tuple[str, ...], str]
    benchmark: str
    writes: bool = True

    def marks(self) -> list[bool]:
        """Returns whether there is a test for each proof."""
        files_and_tests = [proof.split("::") for proof in self.proofs]
        return [f"def {test}(" in (ROOT / "tests" / file).read_text() for file, test in files_and_tests]

    def recorded(self) -> str:
        """Returns the score of the run."""
        keys, form = self.score
        found = json.loads((SCORES.parent / f"{self.run.split()[0]}.json").read_text())
        for key in keys:
            found = found[key]
        return form.format(found)


STEPS = "test_outputs_gradients_and_steps_are_those_of_pytorch"
LOWERS, DEVICES = "test_the_gradient_lowers_for_accelerators", "test_eight_devices_end_where_one_does"
SEQUENCE_MODELS = (
    SequenceModel(
        "rnn.language_model.LanguageModel",
        (
            f"test_language_model.py::{STEPS}",
            "test_language_model.py::test_training_step_lowers_for_accelerators",
            f"test_language_model.py::{DEVICES}",
        ),
        "tinyshakespeare FILE",
        (("val_nats",), "{:.3f} nats"),
        "lstm",
    ),
    SequenceModel(
        "rnn.seq2seq.Seq2Seq",
        (f"test_seq2seq.py::{STEPS}", f"test_seq2seq.py::{LOWERS}", f"test_translation.py::{DEVICES}"),
        "multi30k DIR",
        (("additive", "bleu"), "BLEU {:.1f}"),
        "seq2seq",
    ),
    SequenceModel(
        "rnn.captioner.Captioner",
        (
            "test_captioner.py::test_outputs_gradients_statistics_and_steps_are_those_of_pytorch",
            f"test_captioner.py::{LOWERS}",
            f"test_captioning.py::{DEVICES}",
        ),
        "scenes",
        (("attention", "exact"), "{:.1%} exact"),
        "captioner",
    ),
    SequenceModel(
        "rnn.video.VideoClassifier",
        (f"test_video.py::{STEPS}", f"test_video.py::{LOWERS}", f"test_video_training.py::{DEVICES}"),
        "motions",
        (("lstm", "test_accuracy"), "{:.1%}"),
        "video",
        writes=False,
    ),
    SequenceModel(
        "transformer.gpt.GPT",
        (
            f"test_transformer.py::{STEPS}",
            "test_text_windows.py::test_training_step_lowers_for_accelerators",
            f"test_text_windows.py::{DEVICES}",
        ),
        "attention_or_recurrence",
        (("transformer", 0, -1), "{:.3f} nats"),
        "gpt",
    ),
    SequenceModel(
        "transformer.transformer.Transformer",
        (
            f"test_transformer.py::{STEPS}",
            "test_transformer.py::test_training_and_writing_lower_for_accelerators",
            f"test_transformer.py::{DEVICES}",
        ),
        "multi30k DIR --model transformer",
        (("transformer", "bleu"), "BLEU {:.1f}"),
        "marian",
    ),
)


def sequences_table(rows: list[dict]) -> str:
    """Returns the table of models of sequences, from the rows of the benchmarks."""
    lines = [
        f"<details><summary>Models of sequences ({len(SEQUENCE_MODELS)})</summary>",
        "",
        "| model, in `jaxvision` | outputs, gradients and steps | lowers | devices | score | infer | train | write "
        "| after `python -m train.configs.` |",
        "|---|:-:|:-:|:-:|--:|--:|--:|--:|---|",
    ]
    for model in SEQUENCE_MODELS:
        proven = [" ✓ " if mark else " – " for mark in model.marks()]
        speeds = [ratio(rows, model.benchmark, work) for work in ("infer", "train")]
        speeds.append(ratio(rows, model.benchmark, "write") if model.writes else "–")
        lines.append("|".join(["", f"`{model.name}`", *proven, model.recorded(), *speeds, f"`{model.run}`", ""]))
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
