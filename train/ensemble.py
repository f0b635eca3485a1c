"""Trains several classifiers at once and averages them: `python -m train.ensemble --members 5`.

Three ways, by `--method`:

seeds      Members of their own seeds, trained by one program, a `vmap` of the training step. Member k is the run
           `train.classification --seed SEED+k`: its own initial weights, order of the data and augmentation (but that
           `--schedule plateau` and `--patience` follow the accuracy of the ensemble).
snapshots  One run whose learning rate falls from its peak to zero once for each member; the weights at the end of each
           fall are a member (https://arxiv.org/abs/1704.00109).
swa        One run whose learning rate falls to a constant, and the mean of its weights at the ends of the epochs from
           then on, with BatchNorm's statistics taken anew (https://arxiv.org/abs/1803.05407), beside the moving average
           and the last weights themselves. No ensemble: one network.

Options are those of `train.classification`. The directory of the run holds, beside what a run of one classifier leaves,
`members/<name>`, each of which `train.predict` takes.

Shapes: M members, B batch, N images, K classes, W sets of weights.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxvision as jv
from train import classification, transfer
from train.data.image_files import FileSplit
from train.data.images import LabelledImages, Split
from train.ensemble_scores import draw_growth, draw_scores, score_ensemble
from train.shared import report
from train.shared.averaging import recompute_statistics, swa
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.figures import learning_curves
from train.shared.mesh import PMAP_AXIS
from train.shared.metrics import Criterion, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import exit_on, to_json, write_json
from train.shared.seeds import LARGEST_SEED, check_seed
from train.shared.state import TrainState, create_state, ema, stack
from train.shared.step import TrainStep, make_train_step
from train.shared.training import read_options, run_training, train_to_best

CRITERION = Criterion("val/ensemble_accuracy")


@dataclasses.dataclass(frozen=True)
class Config:
    """Train an ensemble of image classifiers, or average the weights of one."""

    members: int = 5
    """Classifiers: of the seeds from --seed on, or snapshots of one run."""
    method: Literal["seeds", "snapshots", "swa"] = "seeds"
    """How members come about: of their own seeds, snapshots of a cyclic learning rate; or the mean of late weights."""
    swa_start: float = 0.75
    """swa: share of the run after which the rate is constant and weights are averaged."""
    swa_rate: float = 0.2
    """swa: the constant rate, as a share of the learning rate."""
    training: classification.Config = dataclasses.field(default_factory=classification.Config)
    """Options of training."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range, or that another leaves no room for.
        """
        if self.members < 2 and self.method != "swa":
            raise ValueError(f"--members must be 2 or more, got {self.members}")
        check_seed(self.training.seed, LARGEST_SEED - len(self.seeds) + 1)
        if not 0 < self.swa_start < 1:
            raise ValueError(f"--swa-start must be between 0 and 1, got {self.swa_start}")
        if not 0 < self.swa_rate <= 1:
            raise ValueError(f"--swa-rate must be above 0 and at most 1, got {self.swa_rate}")
        if self.method != "seeds" and self.training.patience is not None:
            raise ValueError(f"--patience ends a run early: --method {self.method} needs all of it")
        if self.method == "snapshots" and self.training.epochs % self.members:
            raise ValueError(f"--epochs {self.training.epochs} is not a multiple of --members {self.members} snapshots")
        if self.method != "seeds" and self.training.optimizer.schedule != "cosine":
            raise ValueError(f"--method {self.method} has a schedule of its own: leave --schedule out")

    @property
    def directory(self) -> Path:
        """The directory of the run."""
        kind = "swa" if self.method == "swa" else f"{self.members}-{self.method}"
        return self.training.run_dir or Path(f"{self.training.directory}-{kind}")

    @property
    def seeds(self) -> list[int]:
        """Those of the classifiers trained at once."""
        return [self.training.seed + k for k in range(self.members if self.method == "seeds" else 1)]

    @property
    def epochs_between_evaluations(self) -> int:
        """As asked for; of snapshots, so that each is evaluated."""
        asked = self.training.evaluate_every
        return math.gcd(asked, self.training.epochs // self.members) if self.method == "snapshots" else asked

    @property
    def swa_epoch(self) -> int:
        """The epoch after which the average of weights begins."""
        return max(round(self.swa_start * self.training.epochs), 1)


def snapshot_schedule(config: OptimizerConfig, total_steps: int, cycles: int) -> optax.Schedule:
    """Returns a learning rate that falls to zero along a cosine once a cycle; `--warmup` is a share of each cycle."""
    length = total_steps // cycles
    cycle = {"init_value": 0.0, "peak_value": config.learning_rate, "decay_steps": length}
    return optax.sgdr_schedule([cycle | {"warmup_steps": round(config.warmup * length)}] * cycles)


def swa_schedule(config: OptimizerConfig, start: int, share: float) -> optax.Schedule:
    """Returns a learning rate that falls along a cosine to a share of its peak, from step `start` on constant."""
    warmup = min(round(config.warmup * start), start - 1)
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, start, end_value=share * config.learning_rate
    )


def ema_and_swa(decay: float | None, start: int, every: int) -> Callable[[TrainState], TrainState]:
    """Returns an `after_update` that keeps both averages, by name."""
    rules = ({"ema": ema(decay)} if decay else {}) | {"swa": swa(start, every)}

    def after_update(state: TrainState) -> TrainState:
        one = lambda name, rule: rule(state.replace(average=state.average[name])).average
        return state.replace(average={name: one(name, rule) for name, rule in rules.items()})

    return after_update


def member(tree: Any, index: int) -> Any:
    """Returns the part of one member of a stack."""
    return jax.tree.map(lambda array: array[index], tree)


def together(train_step: TrainStep) -> TrainStep:
    """Returns the step of all members at once: states stacked, batches of arrays [B, M, ...], metrics summed."""
    mapped = jax.vmap(train_step, in_axes=(0, 1))

    def step(state: TrainState, batch: Any):
        state, metrics = mapped(state, batch)
        return state, jax.tree.map(lambda values: values.sum(0), metrics)

    return step


def stacked_order(orders: list[ShuffledOrder]) -> Callable[[int], np.ndarray]:
    """Returns the indices [B, M] of the examples of a step, each member in its own order."""
    return lambda step: np.stack([order(step) for order in orders], axis=1)


def stacked_batches(
    split: LabelledImages, order: Callable[[int], np.ndarray], start: int, stop: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of arrays [B, M, ...] of images that are decoded when they are due."""
    shape = order(start).shape
    for batch in split.batches(lambda step: order(step).ravel(), start, stop):
        yield {name: array.reshape(*shape, *array.shape[1:]) for name, array in batch.items()}


@dataclasses.dataclass
class Experiment:
    """What a config stands for, laid out on devices, nothing run yet."""

    task: classification.Task
    loss_fn: Callable
    order: ShuffledOrder
    schedule: optax.Schedule
    advance: Callable
    state: TrainState


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    training, task = config.training, classification.prepare(config.training)
    orders = [ShuffledOrder(len(task.data.train), training.batch_size, seed) for seed in config.seeds]
    steps_per_epoch = orders[0].steps_per_epoch
    schedule, after_update = rules(config, steps_per_epoch)
    optimizer = make_optimizer(training.optimizer, schedule)
    loss_fn = classification.make_loss_fn(task.model, task.preprocessing, training, task.teacher)
    train_step = make_train_step(
        loss_fn,
        optimizer,
        accumulate=training.optimizer.accumulate,
        after_update=after_update,
        max_nonfinite=training.max_nonfinite,
        axis_name=PMAP_AXIS if training.compile == "pmap" else None,
    )
    state = stack([initial_state(config, task.model, optimizer, seed) for seed in config.seeds])
    advance, state = feed(task, training, together(train_step), stacked_order(orders), state, steps_per_epoch)
    return Experiment(task, loss_fn, orders[0], schedule, advance, state)


def rules(config: Config, steps_per_epoch: int) -> tuple[optax.Schedule, Callable | None]:
    """Returns the learning rate, and what follows each update."""
    options, steps = config.training.optimizer, config.training.epochs * steps_per_epoch
    if config.method == "snapshots":
        return snapshot_schedule(options, steps, config.members), None
    if config.method == "swa":
        start = config.swa_epoch * steps_per_epoch
        return swa_schedule(options, start, config.swa_rate), ema_and_swa(options.ema, start, steps_per_epoch)
    return make_schedule(options, steps), ema(options.ema) if options.ema else None


def initial_state(config: Config, model: Any, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """Returns the state that `train.classification` starts from, with the averages of the method."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    decay = config.training.optimizer.ema
    averaged = config.method == "seeds" and decay is not None
    training = config.training
    variables = transfer.initial_variables(training.transfer, training.model, model, init_key)
    state = create_state(variables, optimizer, run_key, average=averaged)
    if config.method != "swa":
        return state
    copy = lambda: jax.tree.map(jnp.copy, state.variables)
    return state.replace(average=({"ema": copy()} if decay else {}) | {"swa": copy()})


def feed(task: classification.Task, training: classification.Config, step, order, state, steps_per_epoch: int):
    """Compiles the step for the data: held on the devices, or decoded when it is due (then once for each member)."""
    data, total = task.data.train, training.epochs * steps_per_epoch
    if isinstance(data, Split):
        arrays = {"image": data.images, "label": data.labels}
        return resident(step, arrays, order, state, task.mesh, compilation=training.compile)
    batches = lambda start: stacked_batches(data, order, start, total)
    return streaming(step, batches, state, task.mesh, compilation=training.compile)


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores, as in `result.json`: of each set of weights, of the mean member and of the ensemble.

    Raises:
        RunError: see `train_to_best`.
    """
    if isinstance(data := experiment.task.data.train, FileSplit):
        data.bad.list_in(config.directory / "bad_images.txt")
    _, state = train_to_best(
        dataclasses.replace(
            config.training, run_dir=config.directory, evaluate_every=config.epochs_between_evaluations
        ),
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.order.steps_per_epoch,
        evaluate=lambda state: validate(config, experiment, state),
        schedule=experiment.schedule,
        criterion=CRITERION if config.method == "seeds" else None,
        label=config.method,
    )
    return conclude(config, experiment, state)


def validate(config: Config, experiment: Experiment, state: TrainState) -> dict[str, float]:
    """Scores members on the validation split, their mean and their ensemble; a snapshot that is due is written."""
    if config.method == "seeds":
        variables = [member(state.variables, k) for k in range(config.members)]
    else:
        variables = [{"params": member(state.params, 0), **member(state.model_state, 0)}]
    if config.method == "snapshots":
        cycle = config.training.epochs // config.members * experiment.order.steps_per_epoch
        number, rest = divmod(int(state.step[0]), cycle)
        if rest == 0:  # before the checkpoint: a run that is killed in between writes the same bits again
            write_member(config, experiment.task, f"{number - 1}", variables[0])
    table = score(experiment.task, dict(enumerate(variables)), "val")[0]
    if config.method != "seeds":
        return table[0]
    return table["mean"] | {f"ensemble_{name}": value for name, value in table["ensemble"].items()}


def score(
    task: classification.Task, members: dict[Any, Any], split: str
) -> tuple[dict[Any, dict[str, float]], np.ndarray, np.ndarray]:
    """Returns loss and accuracy of sets of weights on a split by name, with those of the mean member and the ensemble.

    Args:
        task: what they were trained for.
        members: their variables, by name.
        split: name of the split.

    Returns:
        The scores, the probabilities [M, N, K] and the labels [N]. The loss is the negative log-likelihood of an image.
    """
    evaluated = {name: task.evaluator(variables, getattr(task.data, split)) for name, variables in members.items()}
    table = {name: scores for name, (scores, _, _) in evaluated.items()}
    probabilities = np.stack([found for _, found, _ in evaluated.values()])
    labels = next(iter(evaluated.values()))[2]
    mean = {name: float(np.mean([scores[name] for scores in table.values()])) for name in ("loss", "accuracy")}
    return table | {"mean": mean, "ensemble": score_ensemble(probabilities, labels)}, probabilities, labels


def final_weights(config: Config, experiment: Experiment, state: TrainState) -> dict[str, Any]:
    """Returns the variables of every member, or of every average, by name."""
    task = experiment.task
    if config.method == "seeds":
        return {f"{k}": member(state.variables, k) for k in range(config.members)}
    if config.method == "snapshots":
        files = {f"{k}": member_directory(config, f"{k}") / "weights.safetensors" for k in range(config.members)}
        return {name: jv.load_weights(task.model, file) for name, file in files.items()}
    averages = member(state.average, 0)
    passed = task.data.train.batches(experiment.order, 0, experiment.order.steps_per_epoch)
    rng = jax.random.wrap_key_data(member(state.rng, 0))
    averages["swa"] = recompute_statistics(experiment.loss_fn, averages["swa"], passed, rng)
    return {"last": {"params": member(state.params, 0), **member(state.model_state, 0)}, **averages}


def conclude(config: Config, experiment: Experiment, state: TrainState) -> dict[str, Any]:
    """Scores what was trained on the test split, and writes weights, the report, and the result last."""
    directory, task = config.directory, experiment.task
    members = final_weights(config, experiment, state)
    table, probabilities, labels = score(task, members, "test")
    if config.method == "swa":
        table = {name: table[name] for name in members}
    for name, variables in members.items():
        write_member(config, task, name, variables)
        write_json(member_directory(config, name) / "result.json", table[name])
    records = read_metrics(directory / "metrics.jsonl")
    drawn = {"Learning curves": learning_curves(records)}
    if config.method == "swa":
        drawn = {"Weights and their averages": draw_scores(table)} | drawn
    else:
        drawn = {"Members against ensemble": draw_growth(probabilities, labels)} | drawn
    shown = [name for name in table if name in ("ensemble", "mean", "swa", "ema", "last")][::-1]
    report.write_report(
        directory,
        title=f"{config.training.model} on {config.training.data}: {config.directory.name}",
        summary={f"test accuracy, {name}": f"{table[name]['accuracy']:.2%}" for name in shown}
        | {f"negative log-likelihood, {name}": f"{table[name]['loss']:.4f}" for name in shown},
        config=to_json(config),
        records=records,
        figures=drawn,
    )
    result = {"step": int(np.max(state.step)), "test": table}
    write_json(directory / "result.json", result)
    return result


def member_directory(config: Config, name: str) -> Path:
    """Where the weights of a member are."""
    return config.directory / "members" / name


def write_member(config: Config, task: classification.Task, name: str, variables: Any) -> None:
    """Writes what `train.predict` needs of one member, but for its result."""
    directory = member_directory(config, name)
    directory.mkdir(parents=True, exist_ok=True)
    jv.save_weights(task.model, variables, directory / "weights.safetensors", overwrite=True)
    write_json(directory / "model.json", classification.describe(config.training, task))


def show(result: dict[str, Any]) -> None:
    """Prints the scores as a table."""
    table = Table("weights", "accuracy", "negative log-likelihood")
    for name, scores in result["test"].items():
        label = f"member {name}" if name.isdigit() else {"mean": "mean member"}.get(name, name)
        table.add_row(label, f"{scores['accuracy']:.2%}", f"{scores['loss']:.4f}")
    Console().print(table)


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    show(run_training(read_options(Config, "ensemble"), build, train, exit_on))


if __name__ == "__main__":
    main()
