"""How contenders are timed and where figures are kept."""

import importlib.metadata
import importlib.util
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.shared.files import write_atomically
from train.shared.machine import machine

Run = Callable[[], None]


def medians(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """Times contenders round after round, for about so long each, and returns the median seconds of a run of each.

    Their order is drawn anew for each round: what one leaves behind, in the caches and in the memory it gives back,
    costs the next.

    Args:
        runs: by name; each does the work once, waits for the result, and is compiled and warm.
        seconds: of timing, for each.
    """
    once = max(min(timed(run) for _ in range(2)) for run in runs.values())
    rounds = int(np.clip(seconds / once, 5, 200))
    times: dict[str, list[float]] = {name: [] for name in runs}
    order, draw = list(runs), random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            times[name].append(timed(runs[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def timed(run: Run) -> float:
    """Returns the seconds that a call takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def save(path: Path, measured: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Adds rows to a file of this machine, in place of those of the same work: of the same values of these keys."""
    here = machine()
    if importlib.util.find_spec("torch"):
        here["torch"] = importlib.metadata.version("torch")
    known = json.loads(path.read_text()) if path.exists() else {"machine": here, "rows": []}
    if known["machine"] != here:
        raise SystemExit(f"error: {path} holds figures of another machine: {known['machine']}; give another --output")
    work = lambda row: tuple(row[key] for key in keys)
    new = {work(row) for row in measured}
    kept = [row for row in known["rows"] if work(row) not in new]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n  ".join(json.dumps(row) for row in [*kept, *measured])
    write_atomically(path, f'{{"machine": {json.dumps(known["machine"])},\n "rows": [\n  {lines}\n]}}\n')
