"""Checkpoints of a run: Orbax writes them, a digest of every file tells whether they can be trusted.

Orbax's saves are atomic, so a process killed at any instant leaves the last whole checkpoint. What it does not notice
is damage done later (a flipped bit loads silently), hence a manifest of SHA-256 digests beside each checkpoint, written
as soon as the checkpoint is whole:

    checkpoints/330/            one step, written by Orbax
    checkpoints/330.sha256.json its manifest
"""

import hashlib
import itertools
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from train.shared.metrics import Criterion
from train.shared.run import RunError, write_json

logger = logging.getLogger(__name__)


class CheckpointError(RunError):
    """A checkpoint could not be written, or none can be read."""


class Checkpoints:
    """The latest checkpoint of a run and the best by a metric.

    Saving returns at once; the files are written while training goes on.
    """

    def __init__(self, directory: Path, criterion: Criterion | None, *, write: bool = True):
        """Opens or creates the directory.

        Args:
            directory: of the checkpoints.
            criterion: of the checkpoint to keep beside the latest; None for no other.
            write: whether this is the run itself, which clears away what a killed process left half written; False to
                read beside a run that may go on.
        """
        self.directory = directory
        self._criterion, policies = criterion, ocp.training.preservation_policies
        keep = [policies.LatestN(2)]
        if criterion:
            keep.append(policies.BestN(get_metric_fn=criterion.score, n=1, keep_checkpoints_without_metrics=False))
        self._checkpointer = ocp.training.Checkpointer(
            directory.absolute(),
            preservation_policy=policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=write,
        )
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._pending: tuple[int, Future] | None = None

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are whole, in order."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def best_step(self) -> int:
        """The step of the best checkpoint, the latest of those that are equally good."""
        self.finish()
        return self._last(self._steps_by_score())

    def latest_step(self) -> int:
        """The step of the latest checkpoint."""
        self.finish()
        return self._last(self.steps())

    def last_good(self, but: int | None = None) -> str:
        """Says, for an error message, what is safe on disk, apart from the step `but`."""
        whole = [step for step in self.steps() if step != but]
        return (
            f"the last good checkpoint is {self.directory / str(whole[-1])}" if whole else "there is no checkpoint yet"
        )

    def save(self, step: int, state: Any, metrics: dict[str, float] | None) -> None:
        """Starts to write the state of a step.

        Args:
            step: its number.
            state: a pytree of arrays; they may be donated to the next step at once.
            metrics: of an evaluation of this state; None where there was none.

        Raises:
            CheckpointError: this or the previous checkpoint could not be written.
        """
        self.finish()
        try:
            response = self._checkpointer.save_async(step, state, metrics=metrics)
            self._pending = step, self._writer.submit(self._complete, step, response)
        except Exception as error:
            raise self._failure(step, error) from error

    def finish(self) -> None:
        """Waits until the last checkpoint is on disk, and writes its manifest.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._pending is None:
            return
        (step, written), self._pending = self._pending, None
        try:
            written.result()
        except Exception as error:
            raise self._failure(step, error) from error
        kept = set(self.steps())
        for manifest in self.directory.glob("*.sha256.json"):
            if int(manifest.name.split(".")[0]) not in kept:
                manifest.unlink()

    def _complete(self, step: int, response: Any) -> None:
        response.result()
        write_json(self._manifest(step), _digests(self.directory / str(step)))

    def restore(self, step: int, like: Any) -> Any:
        """Reads the state of a step, after checking every file of it.

        Args:
            step: one of `steps()`.
            like: a state of the same shapes, of arrays or `ShapeDtypeStruct`; they are laid on devices as its are.

        Raises:
            CheckpointError: a file is missing or damaged, or the state is another than `like`.
        """
        directory = self.directory / str(step)
        if damage := self._damage(step):
            raise CheckpointError(f"checkpoint {directory} is damaged: {damage}")
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        try:
            return self._checkpointer.load(step, target)
        except Exception as error:
            reason = error.__cause__ or error
            raise CheckpointError(f"checkpoint {directory} does not fit this run: {reason}") from error

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Returns the newest step that is whole and its state; None where there is no checkpoint at all.

        Damaged checkpoints are named in the log and moved aside, never deleted.

        Raises:
            CheckpointError: there are checkpoints, and none can be read.
        """
        return self._restore_first(self.steps()[::-1], like)

    def restore_best(self, like: Any) -> tuple[int, Any]:
        """The same for the best step; where that is damaged, the next best.

        Raises:
            CheckpointError: no checkpoint can be read.
        """
        self.finish()
        restored = self._restore_first(self._steps_by_score()[::-1], like)
        if restored is None:
            raise CheckpointError(f"{self.directory} holds no checkpoint with a score")
        return restored

    def close(self) -> None:
        """Finishes writing and lets go of the directory."""
        self.finish()
        self._writer.shutdown()
        self._checkpointer.close()

    def _steps_by_score(self) -> list[int]:
        scored = [(self._criterion.score(c.metrics), c.step) for c in self._checkpointer.checkpoints if c.metrics]
        return [step for _, step in sorted(scored)]

    def _restore_first(self, steps: list[int], like: Any) -> tuple[int, Any] | None:
        failures: dict[int, str] = {}
        for step in steps:
            try:
                state = self.restore(step, like)
            except CheckpointError as error:
                failures[step] = str(error)
                continue
            self._set_aside(failures)
            return step, state
        if failures:
            raise CheckpointError("no checkpoint can be read:\n  " + "\n  ".join(failures.values()))
        return None

    def _set_aside(self, failures: dict[int, str]) -> None:
        for step, failure in failures.items():
            names = itertools.chain(
                [f"damaged-checkpoint-{step}"], (f"damaged-checkpoint-{step}.{n}" for n in itertools.count(2))
            )
            aside = next(path for path in map(self.directory.parent.joinpath, names) if not path.exists())
            (self.directory / str(step)).rename(aside)
            self._manifest(step).unlink(missing_ok=True)
            logger.warning("%s; moved to %s, going on from an older one", failure, aside)
        if failures:
            self._checkpointer.reload()

    def _last(self, steps: list[int]) -> int:
        if not steps:
            raise CheckpointError(f"{self.directory} holds no whole checkpoint")
        return steps[-1]

    def _manifest(self, step: int) -> Path:
        return self.directory / f"{step}.sha256.json"

    def _damage(self, step: int) -> str | None:
        """Returns what is wrong with the files of a step, None if nothing.

        A kill just after Orbax has finished leaves a whole checkpoint without a manifest: it is taken as it is.
        """
        if not self._manifest(step).exists():
            return None
        try:
            expected = json.loads(self._manifest(step).read_text())
        except (OSError, ValueError) as error:
            return f"its manifest {self._manifest(step).name} cannot be read ({error})"
        found = _digests(self.directory / str(step))
        if missing := sorted(set(expected) - set(found)):
            return f"{', '.join(missing)} missing"
        changed = sorted(name for name in expected if found[name] != expected[name])
        return f"{', '.join(changed)} changed since written" if changed else None

    def _failure(self, step: int, error: Exception) -> CheckpointError:
        reason = error.__cause__ or error
        return CheckpointError(
            f"could not write the checkpoint of step {step} to {self.directory}: {reason}; {self.last_good(but=step)}"
        )


def _digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below a directory, by relative name."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
