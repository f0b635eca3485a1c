"""The log of a run, through kills and resumptions, and what a run shows on the way."""

import io
import math
import sys

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from train.shared.metrics import Criterion, MetricsLog, describe_best, read_metrics
from train.shared.progress import progress


def record(step):
    return {"step": step, "epoch": step / 10, "train/loss": 1 / (step + 1)}


def write(directory, resume_step, steps):
    with MetricsLog(directory, resume_step) as log:
        for step in steps:
            log.write(record(step))


def events(directory):
    """Returns the events of the TensorBoard files in order: each is a length (8 bytes, 4 of checksum) and as many."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return found


@pytest.mark.parametrize(
    ("scores", "step", "total", "told"),
    [
        ([0.1, 0.3, 0.2], 2000, 3000, "2,000 of 3,000"),
        ([0.3, 0.1, 0.3], 3000, 3000, "3,000 of 3,000, as good as 1,000"),
        ([0.1, 0.3, 0.3, 0.3], 4000, 9000, "4,000, as good as 2,000; ended after 4,000 of 9,000"),
        ([0.1, 0.3, 0.2, 0.2], 2000, 9000, "2,000; ended after 4,000 of 9,000"),
        ([math.nan, math.nan], 2000, 2000, "2,000 of 2,000"),
    ],
)
@pytest.mark.parametrize("lowest", [False, True])
def test_the_best_step_is_told_with_those_as_good_and_the_end(scores, step, total, told, lowest):
    records = [{"step": 1000 * n, "val": -x if lowest else x} for n, x in enumerate(scores, start=1)]
    records.insert(1, {"step": 1500, "train/loss": 1.0})
    assert describe_best(records, Criterion("val", lowest), step, total) == told


def test_records_come_back(tmp_path):
    write(tmp_path, None, [1, 2, 3])
    assert read_metrics(tmp_path / "metrics.jsonl") == [record(1), record(2), record(3)]


def test_a_record_is_written_at_once(tmp_path):
    log = MetricsLog(tmp_path, None)
    log.write(record(1))
    assert read_metrics(tmp_path / "metrics.jsonl") == [record(1)]
    assert events(tmp_path)[-1].summary.value[1].tag == "train/loss"
    log.close()


@pytest.mark.parametrize("torn", ["", '{"step": 4, "epo', '{"step": 4, "train/loss": 1'])
def test_a_resumed_log_is_that_of_a_run_never_killed(tmp_path, torn):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    write(whole, None, [1, 2, 3, 4])
    write(killed, None, [1, 2, 3])
    with (killed / "metrics.jsonl").open("a") as file:
        file.write(torn)
    assert read_metrics(killed / "metrics.jsonl") == [record(1), record(2), record(3)]
    write(killed, 2, [3, 4])
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert [path.name for path in killed.glob("*.tmp")] == []


def test_a_run_that_starts_anew_drops_all_records(tmp_path):
    write(tmp_path, None, [1, 2])
    write(tmp_path, None, [1])
    assert read_metrics(tmp_path / "metrics.jsonl") == [record(1)]


def test_tensorboard_hides_what_follows_the_step_resumed_from(tmp_path):
    write(tmp_path, None, [1, 2, 3])
    write(tmp_path, 2, [3])
    starts = [event.step for event in events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [0, 3]
    scalars = [(event.step, value.tag) for event in events(tmp_path) for value in event.summary.value]
    assert scalars[-2:] == [(3, "epoch"), (3, "train/loss")]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with MetricsLog(tmp_path, None) as log:
        log.write({"step": 1, "train/loss": math.nan, "train/gradient_norm": math.inf})
    path = tmp_path / "metrics.jsonl"
    assert path.read_text() == '{"step": 1, "train/loss": null, "train/gradient_norm": null}\n'
    assert math.isnan(read_metrics(path)[0]["train/loss"])


def test_damage_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_metrics(path)


def test_there_may_be_no_log(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress(30, "digits [small]", start=10) as bar:
        bar.update(20, **{"epoch": 2.0, "train/loss": 0.51, "learning_rate": 0.1, "images_per_second": 5123.4})
        bar.update(25, **{"train/loss": 0.4})
        bar.print("saved [it]")
        bar.update(30, **{"epoch": 3.0, "train/loss": 0.31, "val/accuracy": 0.9375})
    return stderr.getvalue()


def test_progress_without_a_terminal_is_few_lines(monkeypatch):
    lines = run(monkeypatch, io.StringIO()).splitlines()
    assert lines == [
        "digits [small]  step 20/30  epoch 2  loss 0.51  5,123 images/s",
        "saved [it]",
        "digits [small]  step 30/30  epoch 3  loss 0.31  val accuracy 0.9375  0:00:00 left",
    ]


def test_progress_in_a_terminal_is_a_bar(monkeypatch):
    shown = run(monkeypatch, Terminal())
    assert "saved [it]" in shown
    assert "digits [small]" in shown
    assert "30/30" in shown
    assert "epoch 3  loss 0.31  5,123 images/s  val accuracy 0.9375" in shown


def test_scores_are_higher_the_better():
    records = [{"step": 1}, {"step": 2, "val/accuracy": 0.5, "val/loss": 1.5}, {"step": 3, "val/loss": 0.5}]
    assert Criterion("val/accuracy").scores(records) == [0.5]
    assert Criterion("val/loss", lowest=True).scores(records) == [-1.5, -0.5]
