"""The loop of every training script: step, log, evaluate, checkpoint, stop, go on. It knows no task."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import jax
import optax

from train.shared.checkpoint import Checkpoints
from train.shared.feed import Advance
from train.shared.metrics import MetricsLog
from train.shared.progress import Progress
from train.shared.run import RunError
from train.shared.state import TrainState
from train.shared.step import means


class NonFiniteLossError(RuntimeError):
    """The loss was not finite for too many steps in a row."""


def fit(
    state: TrainState,
    advance: Advance,
    *,
    total_steps: int,
    steps_per_epoch: int,
    log_every: int,
    evaluate_every: int,
    evaluate: Callable[[TrainState], dict[str, float]],
    schedule: optax.Schedule,
    checkpoints: Checkpoints,
    log: MetricsLog,
    progress: Progress,
    max_nonfinite: int,
) -> TrainState:
    """Trains from the state's step to `total_steps`.

    Args:
        state: where to go on from.
        advance: runs the steps from one to before another (see `feed`).
        total_steps, steps_per_epoch, log_every, evaluate_every: in steps; a checkpoint follows each evaluation.
        evaluate: the metrics that are logged as `val/...`, exact over a whole split.
        schedule: the learning rate, to log it.
        checkpoints, log, progress: where all of it goes.
        max_nonfinite: steps in a row with a loss or gradient that is not finite before the run is stopped.

    Returns:
        The state after the last step.

    Raises:
        NonFiniteLossError: as `max_nonfinite` says; it names the step and the last good checkpoint.
        CheckpointError, RunError: a checkpoint or the log could not be written; they say what is safe on disk.
        SystemExit: SIGINT or SIGTERM came; the state was saved first.
    """
    step = int(state.step)
    with _failing_writes_explained(checkpoints), _signals() as received:
        while step < total_steps:
            start, begun = step, time.perf_counter()
            step = min(total_steps, *(start - start % every + every for every in (log_every, evaluate_every)))
            state, totals = advance(state, start, step)
            totals = jax.device_get(totals)
            _check_finite(state, max_nonfinite, checkpoints)
            elapsed = time.perf_counter() - begun
            record = {f"train/{name}": value for name, value in means(totals).items()}
            record |= {
                "learning_rate": float(schedule(step - 1)),
                "images_per_second": float(totals["count"]) / elapsed,
            }
            if due := step % evaluate_every == 0 or step == total_steps:
                metrics = {f"val/{name}": value for name, value in evaluate(state).items()}
                checkpoints.save(step, state, metrics)
                record |= metrics
            record = {"epoch": step / steps_per_epoch, **record}
            log.write({"step": step, **record})
            progress.update(step, **record)
            if received and step < total_steps:
                if not due:
                    checkpoints.save(step, state, None)
                checkpoints.finish()
                raise SystemExit(f"stopped by {received[0].name} at step {step}, which is saved: run again to go on")
    checkpoints.finish()
    return state


def _check_finite(state: TrainState, limit: int, checkpoints: Checkpoints) -> None:
    if (streak := int(state.nonfinite)) < limit:
        return
    checkpoints.finish()
    raise NonFiniteLossError(
        f"the loss or its gradient was not finite in the {streak} steps up to step {int(state.step)} "
        f"(--max-nonfinite {limit}); {checkpoints.last_good()}; a lower --learning-rate or a --clip-norm may help"
    )


@contextlib.contextmanager
def _failing_writes_explained(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write to {checkpoints.directory.parent}: {error}; {checkpoints.last_good()}") from error


@contextlib.contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Collects SIGINT and SIGTERM, so that the loop can save and stop between two steps."""
    received: list[signal.Signals] = []
    handle = lambda number, frame: received.append(signal.Signals(number))
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
