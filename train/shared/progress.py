"""How far a run is: a bar in a terminal, now and then a line of text anywhere else."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

import rich.progress
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

SECONDS_BETWEEN_LINES = 10
UNSHOWN = {"train/gradient_norm", "learning_rate"}  # they are in the log, and say little at a glance


class Progress(Protocol):
    """What `progress` gives."""

    def update(self, step: int, **values: float) -> None:
        """Shows the step reached and what was measured there, under the names that the log has for it."""

    def print(self, text: str) -> None:
        """Prints lines that stay."""


@contextlib.contextmanager
def progress(total_steps: int, description: str, *, start: int = 0) -> Iterator[Progress]:
    """Shows on stderr how a run goes on, as long as the context lasts.

    Args:
        total_steps: at the end of the run.
        description: of the run, a word or two.
        start: the step that the run goes on from.
    """
    if not sys.stderr.isatty():
        yield _Lines(total_steps, description)
        return
    with Live(console=Console(stderr=True)) as live:
        yield _Bar(total_steps, description, start, live)


class _Lines:
    """A line for each evaluation, and for each ten seconds without one."""

    def __init__(self, total_steps: int, description: str):
        self._total_steps, self._description = total_steps, description
        self._first: tuple[int, float] | None = None  # step and time of the first update: compilation lies before it
        self._last_line = -math.inf

    def update(self, step: int, **values: float) -> None:
        now = time.monotonic()
        self._first = self._first or (step, now)
        evaluated = any(name.startswith("val/") for name in values)
        if evaluated or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = self._time_left(step, now)
            self.print(f"{self._description}  step {step}/{self._total_steps}  {_line(values)}{left}")

    def _time_left(self, step: int, now: float) -> str:
        first_step, first_time = self._first
        if step == first_step:
            return ""
        seconds = (now - first_time) * (self._total_steps - step) / (step - first_step)
        return f"  {timedelta(seconds=round(seconds))} left"

    def print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Bar:
    """A bar, and below it the values measured last."""

    def __init__(self, total_steps: int, description: str, start: int, live: Live):
        self._live, self._values = live, {}
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task = self._bar.add_task(description, total=total_steps, completed=start)
        live.update(self._bar)

    def update(self, step: int, **values: float) -> None:
        self._bar.update(self._task, completed=step)
        self._values |= values
        self._live.update(Group(self._bar, Text(_line(self._values), "dim")))

    def print(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)


def _line(values: dict[str, float]) -> str:
    """Returns values as text: "epoch 3  loss 0.31  accuracy 0.902  4,812 images/s  val loss 0.35"."""
    return "  ".join(_labelled(name, value) for name, value in values.items() if name not in UNSHOWN)


def _labelled(name: str, value: float) -> str:
    if name.endswith("_per_second"):
        return f"{value:,.0f} {name.removesuffix('_per_second')}/s"
    return f"{name.removeprefix('train/').replace('/', ' ').replace('_', ' ')} {value:.4g}"
