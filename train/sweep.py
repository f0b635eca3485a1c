"""Searches for hyperparameters of a classifier: `python -m train.sweep --search random --trials 20`.

    --space learning_rate=1e-4..1e-1:log weight_decay=0,1e-2 batch_size=32,64

names what is searched: ranges, on a logarithmic scale with `:log`, or values. Every other option of
`train.classification` can be given and holds for all trials. A trial is trained on a part of the training set
(`--subset`), with the same initial weights and order of the data as all others, and scored by its accuracy on the
validation split after the last epoch. Trials that differ in learning rate and weight decay alone are trained at once,
by a `vmap` of the training step. Each finished trial is a line of `trials.jsonl`; a search that was killed goes on when
its command is given again and ends with the same table.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from train import classification
from train.shared import report
from train.shared.files import write_atomically
from train.shared.progress import progress
from train.shared.run import RunError, exit_on, to_json, write_json
from train.shared.seeds import LARGEST_NUMPY_SEED, check_seed
from train.shared.space import (
    LEARNING,
    Choices,
    Parameters,
    Range,
    Sampler,
    Space,
    Trial,
    draw,
    grid,
    importance,
    parse,
)
from train.shared.training import read_options, run_training
from train.sweep_figures import draw_importance, draw_searches, draw_trials
from train.sweep_trials import TRACED, ImpossibleTrial, Objective, command_line, configure, searchable

Search = Literal["grid", "random", "qmc", "tpe", "cmaes", "nsgaii"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Search for the hyperparameters of an image classifier."""

    space: tuple[str, ...] = ("learning_rate=1e-4..1e-1:log", "weight_decay=0,1e-2")
    """What is searched: name=low..high, name=low..high:log or name=value,value,..."""
    search: tuple[Search, ...] = ("random",)
    """How: grid, random, or a sampler of Optuna, qmc (Sobol's points, spread evenly), tpe, cmaes (for two ranges or
    more) or nsgaii; several to compare."""
    trials: int = 20
    """Trials of each search; of a grid, the most."""
    points: int = 4
    """grid: points of each range."""
    subset: float = 0.25
    """Share of the training set that trials are trained on."""
    at_once: int = 8
    """Most trials trained at once."""
    training: classification.Config = dataclasses.field(default_factory=classification.Config)
    """Options of training."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range, or a space that cannot be read.
        """
        for name in ("trials", "points", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")
        check_seed(self.training.seed, LARGEST_NUMPY_SEED)
        if not 0 < self.subset <= 1:
            raise ValueError(f"--subset must be above 0 and at most 1, got {self.subset}")
        if not self.search or len(set(self.search)) < len(self.search):
            raise ValueError(f"--search must name searches, each once, got {' '.join(self.search) or 'none'}")
        if self.training.patience is not None:
            raise ValueError("--patience ends the run of one classifier: trials are trained to the end")
        if self.training.compile != "jit":
            raise ValueError("--compile must be jit: trials are trained at once by vmap")
        for point in grid(self.dimensions, 2):
            if configure(self.training, point).optimizer.schedule == "plateau":
                raise ValueError("--schedule plateau follows the accuracy of one classifier: trials share their steps")
        if "cmaes" in self.search and sum(isinstance(d, Range) for d in self.dimensions.values()) < 2:
            raise ValueError(f"--search cmaes needs two ranges or more in --space, got {' '.join(self.space)}")
        if "grid" in self.search and (size := len(grid(self.dimensions, self.points))) > self.trials:
            raise ValueError(f"--search grid: the grid has {size} points, more than --trials {self.trials}")

    @property
    def dimensions(self) -> Space:
        """What is searched, by name.

        Raises:
            ValueError: it cannot be read.
        """
        dimensions = dict(parse(text, searchable()) for text in self.space)
        if len(dimensions) < max(len(self.space), 1):
            raise ValueError(f"--space must name options, each once, got {' '.join(self.space) or 'none'}")
        return dimensions

    @property
    def directory(self) -> Path:
        """The directory of the search."""
        return self.training.run_dir or Path(f"{self.training.directory}-sweep")


def batches(points: Sequence[Parameters], at_once: int) -> Iterator[list[int]]:
    """Yields the numbers of trials to be trained at once: those whose programs are the same.

    They depend on the points alone and not on what is done already, so that every trial has the same bits after a kill.
    """
    groups: dict[tuple, list[int]] = {}
    for number, point in enumerate(points):
        groups.setdefault(tuple((k, v) for k, v in point.items() if k not in TRACED), []).append(number)
    for group in groups.values():
        yield from (group[start : start + at_once] for start in range(0, len(group), at_once))


def search(
    kind: Search,
    space: Space,
    score: Callable[[list[Parameters]], list[tuple[float, float]]],
    done: Sequence[Trial],
    config: Config,
) -> Iterator[list[Trial]]:
    """Yields trials as they finish, those not done already.

    Args:
        kind: of the search.
        space: what is searched.
        score: accuracy and loss of points that can be trained at once; raises ImpossibleTrial.
        done: trials of this search that are finished.
        config: how many trials, points and trials at once.

    Raises:
        RunError: a trial that is finished was drawn by another version of Optuna.
    """
    finished = {trial["number"]: trial for trial in done}
    if kind in LEARNING:
        sampler = Sampler(kind, space, config.training.seed)
        for number in range(config.trials):
            point = sampler.ask()
            if number not in finished:
                finished[number] = _attempt(kind, number, point, score)
                yield [finished[number]]
            elif finished[number]["parameters"] != point:
                raise RunError(
                    f"{config.directory}: trial {number} of {kind} is not what this version of Optuna draws: go on "
                    "with that of before, or give another --run-dir"
                )
            sampler.tell(finished[number]["score"])
        return
    points = planned(kind, space, config)
    for numbers in batches(points, config.at_once):
        if not finished.keys() >= set(numbers):
            chosen = [points[number] for number in numbers]
            trials = _trials(kind, numbers, chosen, score(chosen))
            yield [trial for trial in trials if trial["number"] not in finished]


def planned(kind: Search, space: Space, config: Config) -> list[Parameters]:
    """Returns all points of a search that does not learn from its trials."""
    if kind == "grid":
        return grid(space, config.points)
    if kind == "qmc":
        sampler, points = Sampler(kind, space, config.training.seed), []
        for _ in range(config.trials):
            points.append(sampler.ask())
            sampler.tell(0.0)  # whatever it is, the next are the same
        return points
    return [draw(space, config.training.seed, number) for number in range(config.trials)]


def _trials(
    kind: Search, numbers: Sequence[int], points: Sequence[Parameters], scores: Sequence[tuple[float, float]]
) -> list[Trial]:
    return [
        {
            "search": kind,
            "number": number,
            "parameters": point,
            "score": accuracy,
            "loss": loss if math.isfinite(loss) else None,
        }
        for number, point, (accuracy, loss) in zip(numbers, points, scores, strict=True)
    ]


def _attempt(kind: Search, number: int, point: Parameters, score: Callable) -> Trial:
    """Returns a trial of a search that learns; one that cannot be trained has a score of 0 and an `error`."""
    try:
        (trial,) = _trials(kind, [number], [point], score([point]))
    except ImpossibleTrial as error:
        (trial,) = _trials(kind, [number], [point], [(0.0, math.inf)])
        trial["error"] = str(error)
    return trial


def read_trials(file: Path) -> list[Trial]:
    """Returns the trials of a `trials.jsonl`; none where there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Returns trials, the best first: by accuracy, then by loss, then by number; last those that cannot be trained."""
    loss = lambda trial: math.inf if trial["loss"] is None else trial["loss"]
    place = lambda trial: ("error" in trial, -trial["score"], loss(trial), trial["search"], trial["number"])
    return sorted(trials, key=place)


def build(config: Config) -> Objective:
    """Loads the data, and checks every trial that is known before the search begins.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    space, objective = config.dimensions, Objective(config.training, config.subset)
    for kind in config.search:
        if kind in LEARNING:
            Sampler(kind, space, config.training.seed)
    known = [planned(kind, space, config) for kind in config.search if kind not in LEARNING]
    for point in itertools.chain(grid(space, 2), *known):
        objective.check(configure(config.training, point))
    return objective


def train(config: Config, objective: Objective) -> dict[str, Any]:
    """Searches, or goes on with the search.

    Returns:
        The best trial, the command that trains it and the importance of each hyperparameter, as in `result.json`.
    """

    def score(points: list[Parameters]) -> list[tuple[float, float]]:
        try:
            configs = [configure(config.training, point) for point in points]
            for one in configs:
                objective.check(one)
        except ValueError as error:
            raise ImpossibleTrial(str(error)) from error
        return objective(configs)

    return conclude(config, carry_out(config, config.dimensions, score))


def carry_out(config: Config, space: Space, score: Callable) -> list[Trial]:
    """Runs the searches, and keeps each trial in `trials.jsonl` as it finishes."""
    file = config.directory / "trials.jsonl"
    trials = read_trials(file)
    sizes = [config.trials if kind in LEARNING else len(planned(kind, space, config)) for kind in config.search]
    with progress(sum(sizes), "trials", start=len(trials)) as bar:
        for kind in config.search:
            for finished in search(kind, space, score, [t for t in trials if t["search"] == kind], config):
                trials += finished
                write_atomically(file, "".join(json.dumps(trial, allow_nan=False) + "\n" for trial in trials))
                bar.update(len(trials), best=ranked(trials)[0]["score"])
    return trials


def conclude(config: Config, trials: list[Trial]) -> dict[str, Any]:
    """Writes the report, and the result last.

    Raises:
        RunError: no trial could be trained.
    """
    space = config.dimensions
    best = ranked(trials)[0]
    if "error" in best:
        raise RunError(f"none of the {len(trials)} trials could be trained, the first because of {trials[0]['error']}")
    command = command_line(configure(config.training, best["parameters"]))
    trained = [trial for trial in trials if "error" not in trial]
    shares = importances(space, trained)
    drawn = {
        "Share of the variance of the score that each hyperparameter explains by itself": draw_importance(shares),
        "Score against each hyperparameter": draw_trials(space, trained),
        "Best of so many trials": draw_searches(trials),
    }
    report.write_report(
        config.directory,
        title=f"{config.training.model} on {config.training.data}: {', '.join(config.search)} search",
        summary={"best validation accuracy": f"{best['score']:.2%}", "trials": describe_count(trials)}
        | {name.replace("_", " "): f"{value}" for name, value in best["parameters"].items()},
        config=to_json(config),
        records=[],
        figures=drawn,
    )
    result = {"best": best, "command": command, "importance": shares, "trials": len(trials)}
    write_json(config.directory / "result.json", result)
    return result


def describe_count(trials: Sequence[Trial]) -> str:
    """Says how many trials there are, and how many of them could not be trained."""
    failed = sum("error" in trial for trial in trials)
    return f"{len(trials)}" + (f", {failed} of which could not be trained" if failed else "")


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Returns the importance of each hyperparameter (see `importance`).

    Over the trials of searches that do not learn, if any: those of others crowd where scores are high.
    """
    spread = [trial for trial in trials if trial["search"] not in LEARNING] or trials
    scores = [trial["score"] for trial in spread]
    return {
        name: importance([t["parameters"][name] for t in spread], scores, isinstance(dimension, Choices))
        for name, dimension in space.items()
    }


def show(config: Config, result: dict[str, Any]) -> None:
    """Prints all trials, the best first, and the command that trains it."""
    names = list(config.dimensions)
    table = Table("search", "trial", *names, "accuracy", "loss")
    for trial in ranked(read_trials(config.directory / "trials.jsonl")):
        loss = trial.get("error", "not finite") if trial["loss"] is None else f"{trial['loss']:.4f}"
        values = [f"{trial['parameters'][name]}" for name in names]
        table.add_row(trial["search"], f"{trial['number']}", *values, f"{trial['score']:.2%}", loss)
    console = Console()
    console.print(table)
    for name, share in result["importance"].items():
        print(f"{name} explains {share:.0%} of the variance")
    print(f"best, on the whole training set:\n{result['command']}")


def run(config: Config) -> dict[str, Any]:
    """Searches as a config says, or goes on with its search (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Searches as the command line says."""
    config = read_options(Config, "sweep")
    show(config, run_training(config, build, train, exit_on))


if __name__ == "__main__":
    main()
