"""The loop of every training script: step, log, evaluate, checkpoint, stop, go on. It knows no task."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.shared.checkpoint import CheckpointError, Checkpoints
from train.shared.feed import Advance
from train.shared.metrics import MetricsLog
from train.shared.progress import Progress
from train.shared.run import RunError
from train.shared.state import TrainState
from train.shared.step import means


class NonFiniteLossError(RunError):
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
    unit: str = "images",
    is_stalled: Callable[[], bool] = lambda: False,
    after_evaluation: Callable[[TrainState], TrainState] = lambda state: state,
) -> TrainState:
    """Trains from the state's step to `total_steps`.

    Args:
        state: where to go on from.
        advance: runs the steps from one to before another (see `feed`).
        total_steps, steps_per_epoch, log_every, evaluate_every: in steps; a checkpoint follows each evaluation.
        evaluate: the metrics that are logged as `val/...`, exact over a whole split.
        schedule: the learning rate, to log it.
        checkpoints, log, progress: where all of it goes.
        max_nonfinite: that of the training step.
        unit: what the loss counts, for the speed.
        is_stalled: whether to end before that; asked before the first step and after each record of the log.
        after_evaluation: what training goes on with after an evaluation, which is then in the log.

    Returns:
        The state after the last step.

    Raises:
        NonFiniteLossError: as `max_nonfinite` says; it names the step and the last good checkpoint.
        CheckpointError, RunError: a checkpoint or the log could not be written; they say what is safe on disk.
        SystemExit: SIGINT or SIGTERM came; the state was saved first.
    """
    step = int(np.max(state.step))  # states stacked for `vmap` are all at the same step
    with _failing_writes_explained(checkpoints), _signals() as received:
        while step < total_steps and not is_stalled():
            start, begun = step, time.perf_counter()
            step = min(total_steps, *(start - start % every + every for every in (log_every, evaluate_every)))
            state, totals = advance(state, start, step)
            totals = jax.device_get(totals)
            _check_finite(state, step, max_nonfinite, checkpoints)
            elapsed = time.perf_counter() - begun
            record = {f"train/{name}": value for name, value in means(totals).items()}
            record |= {
                "learning_rate": float(schedule(step - 1)),
                f"{unit}_per_second": float(totals["count"]) / elapsed,
            }
            if due := step % evaluate_every == 0 or step == total_steps:
                metrics = {f"val/{name}": value for name, value in evaluate(state).items()}
                record |= metrics
            record = {"epoch": step / steps_per_epoch, **record}
            log.write({"step": step, **record})  # before the checkpoint: a run that goes on from it has this record
            progress.update(step, **record)
            if due:
                state = after_evaluation(state)
                checkpoints.save(step, state, metrics)
            if received and step < total_steps:
                if not due:
                    checkpoints.save(step, state, None)
                checkpoints.finish()
                raise SystemExit(f"stopped by {received[0].name} at step {step}, which is saved: run again to go on")
    checkpoints.finish()
    return state


def _check_finite(state: TrainState, step: int, limit: int, checkpoints: Checkpoints) -> None:
    """Raises NonFiniteLossError where the steps have stopped, after saving the state from before they went wrong."""
    if (streak := int(np.max(state.nonfinite))) < limit:
        return
    checkpoints.save(step, state.replace(nonfinite=jnp.zeros_like(state.nonfinite)), None)
    checkpoints.finish()
    raise NonFiniteLossError(
        f"the loss, its gradient or the update was not finite from step {step - streak} on, for {limit} steps in a row "
        f"(--max-nonfinite); the state from before is saved: {checkpoints.last_good()}. A lower --learning-rate or a "
        "--clip-norm may help, in a new --run-dir"
    )


@contextlib.contextmanager
def _failing_writes_explained(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(CheckpointError):
            checkpoints.finish()
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
