"""Files of recorded scores: a row for each model, of one line; or curves, a line for each run."""

import json
from pathlib import Path
from typing import Any

import jaxvision as jv
from train.shared.files import write_atomically
from train.shared.run import read_json, write_json

Curves = dict[str, list[list[float]]]
"""Of each model, the values of each of its runs."""


def record(file: Path, name: str, found: dict[str, Any]) -> None:
    """Writes the scores of a model, or of a model's recipe as "model/recipe", in the order of the models."""
    rows = json.loads(file.read_text()) if file.exists() else {}
    rows[name] = found
    order = {model: index for index, model in enumerate(jv.list_models())}
    kept = sorted((row for row in rows if row.partition("/")[0] in order), key=lambda row: order[row.partition("/")[0]])
    lines = ",\n".join(f"  {json.dumps(row)}: {json.dumps(rows[row])}" for row in kept)
    write_atomically(file, f"{{\n{lines}\n}}\n")


def record_run(file: Path, name: str, seed: int, found: dict[str, Any], run_dir: Path) -> None:
    """Writes the result of a run, and where it was made, beside those of others."""
    rows = read_json(file) if file.exists() else {}
    write_json(file, rows | {name: {"seed": seed, **found, **read_json(run_dir / "machine.json")}})


def save_curves(curves: Curves, path: Path) -> None:
    """Writes curves as JSON, a line for each run."""
    lines = [f'  "{name}": [\n    {_lines(runs)}\n  ]' for name, runs in curves.items()]
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _lines(runs: list[list[float]]) -> str:
    return ",\n    ".join(json.dumps([round(value, 5) for value in run]) for run in runs)
