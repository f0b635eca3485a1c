"""Scores a checkpoint of a classifier: `python -m train.evaluate runs/lenet5-digits-0`."""

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

import jaxvision as jv
from train.classification import CRITERION, Config, Experiment, build
from train.data.images import LabelledImages
from train.ensemble_scores import draw_scores
from train.shared.checkpoint import Checkpoints
from train.shared.evaluator import Evaluator
from train.shared.files import write_atomically
from train.shared.mesh import make_mesh
from train.shared.report import DOTS_PER_INCH
from train.shared.run import RunError, exit_on, from_json, read_json
from train.shared.views import Views


@dataclasses.dataclass(frozen=True)
class Options:
    """Score a checkpoint of a classifier on a split of its data set."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    checkpoint: Literal["best", "latest"] = "best"
    """Which of its checkpoints."""
    split: Literal["train", "val", "test"] = "test"
    """Which split."""
    data_dir: Path | None = None
    """Directory of the data set, if it is not where it was in training."""
    views: tuple[Literal["mirror", "shifts"], ...] = ()
    """Score the mean of the probabilities over the mirror image too, over shifted crops, or over both."""
    shift: int = 2
    """Pixels by which crops are shifted."""
    output: Path | None = None
    """PNG file of what each view scores alone and all of them together."""
    overwrite: bool = False
    """Replace that file if it exists."""
    json: bool = False
    """Print JSON."""

    def __post_init__(self):
        """Raises ValueError for a shift that cannot be, or a picture of nothing or in place of another."""
        if self.shift < 1:
            raise ValueError(f"--shift must be 1 or more, got {self.shift}")
        if self.output and not self.views:
            raise ValueError(f"--output {self.output} is a picture of --views, which are not given")
        if self.output and self.output.exists() and not self.overwrite:
            raise ValueError(f"{self.output} exists: give another --output, or --overwrite")


def evaluate(options: Options) -> dict[str, float | int | str]:
    """Returns the loss and the accuracy of a checkpoint.

    Raises:
        RunError: there is no such run, or its checkpoint cannot be read.
        RunError, ValueError, OSError: its data set cannot be read.
    """
    config = from_json(Config, read_json(options.run_dir / "config.json"))
    # Where a run was trained does not bind where it is scored: one device, all of the parameters on it.
    config = dataclasses.replace(config, data_dir=options.data_dir or config.data_dir, devices=1, fsdp=1)
    check_complete(options)
    views = Views("mirror" in options.views, options.shift if "shifts" in options.views else 0)
    experiment = build(config, views=views if options.views else None)
    step, variables = restore(options, experiment)
    split = getattr(experiment.data, options.split)
    scores, _, _ = experiment.evaluator(variables, split)
    if options.output:
        table = score_views(experiment, variables, split, views) | {"mean of all": scores}
        png = io.BytesIO()
        draw_scores(dict(reversed(table.items())), options.split).savefig(png, format="png", dpi=DOTS_PER_INCH)
        write_atomically(options.output, png.getvalue())
    return {"checkpoint": options.checkpoint, "step": step, "split": options.split, **scores}


def check_complete(options: Options) -> None:
    """Refuses a run without checkpoints, unless its best weights are there: a linear probe keeps these alone.

    Raises:
        RunError: there is nothing to score; the message says why.
    """
    if (options.run_dir / "checkpoints").is_dir():
        return
    if not (options.run_dir / "result.json").exists():
        raise RunError(f"{options.run_dir} has no checkpoints yet")
    if options.checkpoint != "best":
        raise RunError(f"{options.run_dir} keeps its best weights and no checkpoints: give --checkpoint best")


def restore(options: Options, experiment: Experiment) -> tuple[int, Any]:
    """Returns the step of a checkpoint and its variables, or those of a run that keeps its best weights alone."""
    directory = options.run_dir / "checkpoints"
    if not directory.is_dir():
        weights = jv.load_weights(experiment.model, options.run_dir / "weights.safetensors")
        return read_json(options.run_dir / "result.json")["step"], weights
    checkpoints = Checkpoints(directory, CRITERION, write=False)
    step = checkpoints.best_step() if options.checkpoint == "best" else checkpoints.latest_step()
    state = checkpoints.restore(step, experiment.state)
    checkpoints.close()
    return step, state.variables


@dataclasses.dataclass(frozen=True)
class OneView:
    """A split, seen in one of the views alone."""

    split: LabelledImages
    views: Views
    number: int

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, order: Callable[[int], np.ndarray], start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields the batches of the split, of other images."""
        for batch in self.split.batches(order, start, stop):
            yield batch | {"image": np.asarray(self.views(batch["image"])[self.number])}


def score_views(
    experiment: Experiment, variables: Any, split: LabelledImages, views: Views
) -> dict[str, dict[str, float]]:
    """Returns the loss and the accuracy of each view alone, by its name."""
    size = experiment.evaluator.batch_size
    evaluator = Evaluator(experiment.model, experiment.preprocessing, size, make_mesh(1))
    return {name: evaluator(variables, OneView(split, views, k))[0] for k, name in enumerate(views.names)}


def main() -> None:
    """Evaluates as the command line says."""
    options = tyro.cli(Options, prog="python -m train.evaluate", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        scores = evaluate(options)
    if options.json:
        print(json.dumps(scores))
    else:
        print(f"{options.run_dir}: {scores['checkpoint']} checkpoint, step {scores['step']}, {scores['split']} split")
        print(f"loss {scores['loss']:.4f}  accuracy {scores['accuracy']:.2%}")
        if options.output:
            print(f"figure: {options.output}")


if __name__ == "__main__":
    main()
