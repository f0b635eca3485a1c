"""A run from its command to its best state: what every training script does around what it alone knows."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import optax
import tyro

from train.shared.checkpoint import Checkpoints
from train.shared.config import TrainingConfig
from train.shared.feed import Advance
from train.shared.loop import fit
from train.shared.machine import machine
from train.shared.metrics import Criterion, MetricsLog, describe_best, read_metrics
from train.shared.optimizer import set_scale
from train.shared.plateau import plateaus, since_best
from train.shared.progress import progress
from train.shared.run import RunError, check_run, start_run, write_json
from train.shared.state import TrainState

Options = TypeVar("Options")
Experiment = TypeVar("Experiment")
Guard = Callable[..., contextlib.AbstractContextManager]


def unguarded(*errors: type[Exception]) -> contextlib.AbstractContextManager:
    """Lets errors through."""
    del errors
    return contextlib.nullcontext()


def run_training(
    config: Options,
    build: Callable[[Options], Experiment],
    train: Callable[[Options, Experiment], dict[str, Any]],
    guard: Guard = unguarded,
) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run; of a complete run it returns the result.

    Args:
        config: the options, with a `directory`.
        build: makes what the config asks for, and runs nothing yet.
        train: trains, and returns the result.
        guard: what building and training are done in, given the errors that each can end with and that say what to do:
            a ValueError of training is a mistake in the program.

    Raises:
        RunError, ValueError, OSError: an option that cannot be, a directory that cannot be used, training that failed.
    """
    with guard(RunError, ValueError, OSError):
        if result := check_run(config.directory, config):
            print(f"{config.directory} is complete: give another --run-dir, or another --seed, to train anew")
            return result
        experiment = build(config)
    with guard(RunError, OSError), start_run(config.directory, config):
        return train(config, experiment)


def read_options(kind: type[Options], script: str) -> Options:
    """Returns the options of a training script, a dataclass, as the command line has them."""
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    return tyro.cli(kind, prog=f"python -m train.{script}", config=style)


def train_to_best(
    config: TrainingConfig,
    state: TrainState,
    advance: Advance,
    *,
    steps_per_epoch: int,
    evaluate: Callable[[TrainState], dict[str, float]],
    schedule: optax.Schedule,
    criterion: Criterion | None,
    label: str,
    about: str = "",
    unit: str = "images",
) -> tuple[int, TrainState]:
    """Trains, or goes on training, in the directory of a run, which this process holds.

    Args:
        config: the options.
        state: before the first step.
        advance: runs steps (see `feed`).
        steps_per_epoch: steps in a pass over the training set.
        evaluate: the metrics that are logged as `val/...`.
        schedule: the learning rate, but for plateaus.
        criterion: what the best state is chosen by, and plateaus and stalled runs are found by; None for the last one.
        label, about: what the bar of progress and the first line printed say.
        unit: what the loss counts.

    Returns:
        The best step, and its state.

    Raises:
        CheckpointError, NonFiniteLossError, RunError: see `fit`.
    """
    directory, steps, begun = config.directory, config.epochs * steps_per_epoch, time.perf_counter()
    scores = lambda: criterion.scores(read_metrics(directory / "metrics.jsonl")) if criterion else []
    on_plateaus = config.optimizer.schedule == "plateau"
    scale = lambda: config.optimizer.step_factor ** plateaus(scores(), config.optimizer.plateau) if on_plateaus else 1.0
    checkpoints = Checkpoints(directory / "checkpoints", criterion)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    if checkpoints.steps():
        jax.tree.map(lambda x: x.delete(), state)  # two states may be more than fit into memory
    start, state = checkpoints.restore_latest(like) or (0, state)
    print(f"{directory}: {about}" + (f"going on after step {start} of {steps}" if start else f"{steps} steps"))
    with MetricsLog(directory, start or None) as log, progress(steps, label, start=start) as bar:
        state = fit(
            state,
            advance,
            total_steps=steps,
            steps_per_epoch=steps_per_epoch,
            log_every=min(steps_per_epoch, 100),
            evaluate_every=config.evaluate_every * steps_per_epoch,
            evaluate=evaluate,
            schedule=lambda step: scale() * schedule(step),
            checkpoints=checkpoints,
            log=log,
            progress=bar,
            max_nonfinite=config.max_nonfinite,
            unit=unit,
            is_stalled=lambda: config.patience is not None and since_best(scores()) >= config.patience,
            after_evaluation=lambda state: set_scale(state, scale()) if on_plateaus else state,
        )
    if (last := int(state.step.max())) < steps:
        print(f"stopped early, after step {last}: --patience {config.patience} evaluations without a new best")
    step = last
    if criterion and checkpoints.best_step() != last:
        del state
        step, state = checkpoints.restore_best(like)
    if last < steps:
        print(f"best step: {describe_best(read_metrics(directory / 'metrics.jsonl'), criterion, step, steps)}")
    checkpoints.close()
    write_json(directory / "machine.json", {**machine(), "from_step": start, "seconds": time.perf_counter() - begun})
    return step, state
