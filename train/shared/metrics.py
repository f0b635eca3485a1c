"""What a run measures, over time: JSON lines for programs, the same as TensorBoard events for people.

A record is one JSON object on a line of `metrics.jsonl`: `step`, `epoch`, and numbers by name, such as `train/loss` or
`val/accuracy`. A number that is not finite is written as `null`, which is all that JSON has for it, and read as NaN.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from train.shared.files import write_atomically

Record = dict[str, float]


class Criterion(NamedTuple):
    """What the best state of a run is chosen by: the highest value of a metric, or the lowest."""

    metric: str
    lowest: bool = False

    def score(self, record: Record) -> float:
        """Returns what is higher the better."""
        return -record[self.metric] if self.lowest else record[self.metric]

    def scores(self, records: Sequence[Record]) -> list[float]:
        """Returns the scores of the records that have the metric."""
        return [self.score(record) for record in records if self.metric in record]


def describe_best(records: Sequence[Record], criterion: Criterion, step: int, total: int) -> str:
    """Says which step is kept: `96 of 128`; `96 of 128, as good as 32`; or `96, as good as 32; ended after 96 of 128`.

    Of evaluations that are equally good the latest is kept, while `--patience` counts from the first of them.

    Args:
        records: of the whole run.
        criterion: what the step was chosen by.
        step: that is kept, of one of the records.
        total: steps of a run that does not end early.
    """
    scores = {record["step"]: criterion.score(record) for record in records if criterion.metric in record}
    first = min((number for number, score in scores.items() if score == scores[step]), default=step)  # none: it is NaN
    equal, last = f", as good as {first:,}" if first < step else "", records[-1]["step"]
    return f"{step:,} of {total:,}{equal}" if last == total else f"{step:,}{equal}; ended after {last:,} of {total:,}"


class MetricsLog:
    """Appends records to `metrics.jsonl` and to TensorBoard events in the same directory.

    Each record is with the operating system when `write` returns: a process killed later loses none. (tensorboardX's
    `SummaryWriter` hands its events to a thread, and a kill loses the last of them; hence the writer below it.)
    """

    def __init__(self, directory: Path, resume_step: int | None):
        """Opens the log of a run.

        Args:
            directory: of the run; it exists.
            resume_step: the step that the run goes on from: later records, and a line that a kill has torn, are
                dropped. None for a run that starts: every record is dropped.
        """
        first = 0 if resume_step is None else resume_step + 1
        path = directory / "metrics.jsonl"
        write_atomically(path, "".join(f"{line}\n" for line, record in _lines(path) if record["step"] < first))
        self._file = path.open("ab", buffering=0)  # a failed write leaves nothing to fail again when it closes
        earlier = len(list(directory.glob("events.out.tfevents.*")))  # the time in a file's name has only seconds
        self._events = EventsWriter(str(directory / "events"), f".{earlier}")
        self._write_event(first, session_log=SessionLog(status=SessionLog.START))  # hides this step and later ones

    def write(self, record: Record) -> None:
        """Appends a record; it has a `step`."""
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        self._append(json.dumps(finite, allow_nan=False) + "\n")
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "step"]
        self._write_event(record["step"], summary=Summary(value=scalars))

    def _append(self, line: str) -> None:
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error

    def _write_event(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(step=step, wall_time=time.time(), **content))
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[Record]:
    """Returns the records of a `metrics.jsonl` in order, without a last line that a kill has torn.

    Raises:
        ValueError: another line is damaged.
    """
    return [{name: math.nan if x is None else x for name, x in record.items()} for _, record in _lines(path)]


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns the whole lines of a file, and what they say; none where there is no file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            parsed.append((line, json.loads(line)))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is damaged: {error}") from error
    return parsed
