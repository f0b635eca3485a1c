"""Trains a character language model: `python -m train.language_model --help`.

Truncated backpropagation through time: the text is cut into a stream for each row of the batch, the streams into chunks
of one step each, and the recurrent state is carried from chunk to chunk, with it from checkpoint to checkpoint. Shapes:
B batch, T tokens of a chunk, C chunks of a stream, N characters, S streams of the evaluation, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from train.data.text import Text, load_text
from train.shared import figures, report
from train.shared.config import TrainingConfig
from train.shared.feed import resident
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh
from train.shared.metrics import Criterion, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import RunError, exit_on, read_json, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step, means
from train.shared.training import read_options, run_training, train_to_best
from train.trained import create_language_model

CRITERION = Criterion("val/loss", lowest=True)
CARRY = "carry"  # the collection of the model state that the recurrent state is kept in
STREAMS = 32
"""S of the evaluations along a run. Their states begin at zero, which the final score does once: it is a bit lower."""


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    """Train a character language model. The defaults train an LSTM on source code of Python's standard library."""

    data: str = "python"
    """Text: python, the source of the standard library (needs no files), or text, files of your own."""
    data_dir: Path | None = None
    """text: a file, or a directory whose .txt files are read."""
    max_characters: int = 1_000_000
    """python: most characters to read, in whole modules."""
    train_characters: int | None = None
    """Characters of the training part to train on, the first; None for all."""
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """Recurrent cell."""
    hidden: int = 128
    """Units of each layer."""
    num_layers: int = 1
    """Recurrent layers."""
    embedding: int = 64
    """Numbers that stand for a character; 0 for one-hot vectors."""
    dropout: float = 0.0
    """Share of the activations dropped between layers in training."""
    chunk: int = 64
    """Characters of a stream in a step: how far gradients go back."""
    batch_size: int = 32
    """Streams that the text is cut into, over all devices."""
    epochs: int = 5
    """Passes over the training part."""
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-3, weight_decay=1e-2, clip_norm=1.0)
    )
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        super().__post_init__()
        self.check_least(1, "max_characters", "hidden", "num_layers", "chunk")
        self.check_least(0, "embedding")
        if self.train_characters is not None:
            self.check_least(1, "train_characters")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout}")
        if self.optimizer.accumulate > 1:
            raise ValueError("--accumulate must be 1: each row of the batch has a state of its own to carry")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"{self.cell}-{self.data}-{self.seed}"


class Streams:
    """The chunks of each step: one of every stream, in the order of the text; each epoch begins anew."""

    def __init__(self, tokens: np.ndarray, batch_size: int, chunk: int):
        """Cuts a text, int32 [N], into B streams of C chunks; what is left over at its end is left out.

        Raises:
            ValueError: it is shorter than one chunk of each stream.
        """
        self.steps_per_epoch = (len(tokens) - 1) // (batch_size * chunk)
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"--batch-size {batch_size} streams of --chunk {chunk} characters, and the one after the last, need "
                f"more than the {len(tokens):,} of the training part"
            )
        starts = chunk * np.arange(batch_size * self.steps_per_epoch)
        self.chunks = tokens[starts[:, None] + np.arange(chunk + 1)]  # [B C, T + 1], each with the token that follows
        self._first = self.steps_per_epoch * np.arange(batch_size, dtype=np.int32)

    def __call__(self, step: int) -> np.ndarray:
        """Returns the numbers [B] of the chunks of a step."""
        return self._first + step % self.steps_per_epoch


def make_loss_fn(model: LanguageModel, steps_per_epoch: int, axis_name: str | None = None) -> Callable:
    """Returns the loss of a batch of chunks int32 [B, T + 1] (see `make_train_step`), in nats, summed over tokens.

    Under `pmap`, `axis_name` is the axis that the batch is dealt out over; the state of all streams is on each device.
    """

    def loss_fn(params, model_state, batch, rng, step):
        is_first = step % steps_per_epoch == 0
        carry = jax.tree.map(lambda part: jnp.where(is_first, 0, part), model_state[CARRY])
        carry = _own_streams(carry, len(batch), axis_name)
        logits, carry = model.apply({"params": params}, batch[:, :-1], carry, train=True, rngs={"dropout": rng})
        losses, correct = scores(logits, batch[:, 1:])
        model_state = {CARRY: _all_streams(carry, axis_name)}
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {"accuracy": correct.sum()})

    return loss_fn


def _own_streams(carry: Any, count: int, axis_name: str | None) -> Any:  # [L, B, H] each -> [L, count, H]
    if axis_name is None:
        return carry
    first = count * jax.lax.axis_index(axis_name)
    return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, first, count, 1), carry)


def _all_streams(carry: Any, axis_name: str | None) -> Any:  # [L, count, H] each -> [L, B, H]
    if axis_name is None:
        return carry
    return jax.tree.map(lambda part: jax.lax.all_gather(part, axis_name, axis=1, tiled=True), carry)


def scores(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:  # [B, T, V], [B, T] -> twice [B, T]
    """Returns the loss in nats, and 1 where the likeliest token is the right one, in float32."""
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return losses, (logits.argmax(-1) == targets).astype(jnp.float32)


class Evaluator:
    """The loss and accuracy of a text, of every character but its first, whatever the batch and the devices."""

    def __init__(self, model: LanguageModel, chunk: int = 256):
        """Compiles nothing yet; `chunk` is the tokens of a dispatch, on which the result does not depend."""
        self._model, self._chunk = model, chunk

        def evaluate(params, carry, inputs, targets, weights):  # weights: 0 past the end
            logits, carry = model.apply({"params": params}, inputs, carry, train=False)
            losses, correct = scores(logits, targets)
            return carry, {"loss": (losses * weights).sum(), "accuracy": (correct * weights).sum()}

        self._evaluate = jax.jit(evaluate)

    def __call__(self, params: Any, tokens: np.ndarray, streams: int = 1) -> dict[str, float]:
        """Returns the means over a text, int32 [N].

        Args:
            params: of the model.
            tokens: two or more.
            streams: S, into which the text is cut: each begins with a state of zeros and carries it to its end.
        """
        count = len(tokens) - 1
        length = -(-count // streams)
        chunk = min(self._chunk, length)
        missing = streams * length - count
        deal = lambda array: np.pad(
            np.pad(array, (0, missing)).reshape(streams, length), ((0, 0), (0, -length % chunk))
        )  # [S, C T]
        columns = map(deal, (tokens[:-1], tokens[1:], np.ones(count, np.float32)))
        chunks = zip(*(np.split(part, part.shape[1] // chunk, 1) for part in columns), strict=True)
        carry, totals = self._model.initial_state(streams), {"count": count}
        for inputs, targets, weights in chunks:
            carry, sums = self._evaluate(params, carry, inputs, targets, weights)
            totals |= {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)


@dataclasses.dataclass
class Experiment:
    """What a config stands for: text, model, step and state, laid out on devices, nothing run yet."""

    text: Text
    model: LanguageModel
    evaluator: Evaluator
    streams: Streams
    schedule: optax.Schedule
    advance: Callable
    state: TrainState


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be, or a text that cannot be read; the message names it.
        FileNotFoundError: there is no such file.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh)
    text = load_text(config.data, config.data_dir, config.max_characters)
    if len(text.val) < 2:
        raise ValueError(f"the validation part has {len(text.val)} character(s), 2 are needed: give a longer text")
    if (config.train_characters or 0) > len(text.train):
        raise ValueError(f"--train-characters {config.train_characters}: the training part has {len(text.train):,}")
    streams = Streams(text.train[: config.train_characters], config.batch_size, config.chunk)
    model = create_language_model(describe(config, text)["model"])
    schedule = make_schedule(config.optimizer, config.epochs * streams.steps_per_epoch)
    optimizer, decay = make_optimizer(config.optimizer, schedule), config.optimizer.ema
    axis_name = PMAP_AXIS if config.compile == "pmap" else None
    train_step = make_train_step(
        make_loss_fn(model, streams.steps_per_epoch, axis_name),
        optimizer,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=axis_name,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    variables = jv.init(model, init_key) | {CARRY: model.initial_state(config.batch_size)}
    state = create_state(variables, optimizer, run_key, average=decay is not None)
    advance, state = resident(train_step, streams.chunks, streams, state, mesh, compilation=config.compile)
    return Experiment(text, model, Evaluator(model), streams, schedule, advance, state)


def describe(config: Config, text: Text) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it, and what text it is of."""
    fields = ("cell", "hidden", "num_layers", "embedding", "dropout")
    model = {"vocabulary_size": len(text.vocabulary)} | {name: getattr(config, name) for name in fields}
    return {
        "model": {**model, "dtype": config.precision},
        "vocabulary": text.vocabulary,
        "characters": len(text.train) + len(text.val),
        "sha256": text.digest,
    }


def check_text(directory: Path, about: dict[str, Any]) -> None:
    """Writes `model.json`, or checks that the text of a run that is gone on with is the one it began with.

    Raises:
        RunError: it is another.
    """
    file = directory / "model.json"
    if not file.exists():
        write_json(file, about)
    elif (there := read_json(file)["sha256"]) != about["sha256"]:
        raise RunError(
            f"{directory} was begun with another text (SHA-256 {there[:12]}, now {about['sha256'][:12]}): give that, "
            "which of --data python means the same version of Python, or another --run-dir"
        )


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to, or its text has changed.
        CheckpointError, NonFiniteLossError: see `fit`.
    """
    text = experiment.text
    check_text(config.directory, describe(config, text))
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.streams.steps_per_epoch,
        evaluate=lambda state: experiment.evaluator(state.variables["params"], text.val, STREAMS),
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.cell,
        about=f"{len(text.train):,} + {len(text.val):,} characters, {len(text.vocabulary)} different, of "
        f"{text.num_files} file(s), SHA-256 {text.digest[:12]}; ",
        unit="tokens",
    )
    return conclude(config, experiment, state.variables["params"], best)


def conclude(config: Config, experiment: Experiment, params: Any, step: int) -> dict[str, Any]:
    """Scores the best state on the validation part in one stream, and writes weights, report, and the result last."""
    directory = config.directory
    found = experiment.evaluator(params, experiment.text.val)
    result = {"step": step, **measures(found["loss"]), "val_accuracy": found["accuracy"]}
    jv.save_weights(experiment.model, {"params": params}, directory / "weights.safetensors", overwrite=True)
    records = read_metrics(directory / "metrics.jsonl")
    report.write_report(
        directory,
        title=f"{config.num_layers} x {config.hidden} {config.cell.upper()} on {config.data}",
        summary={
            "nats per character": f"{result['val_nats']:.4f}",
            "bits per character": f"{result['val_bits']:.4f}",
            "perplexity": f"{result['val_perplexity']:.3f}",
            "accuracy": f"{result['val_accuracy']:.2%}",
            "best step": f"{step:,} of {config.epochs * experiment.streams.steps_per_epoch:,}",
        },
        config=to_json(config),
        records=records,
        figures={"Learning curves": figures.learning_curves(records)},
    )
    write_json(directory / "result.json", result)
    return result


def measures(nats: float) -> dict[str, float]:
    """Returns a loss per character in nats, in bits, and as perplexity."""
    return {"val_nats": nats, "val_bits": nats / math.log(2), "val_perplexity": math.exp(nats)}


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    result = run_training(read_options(Config, "language_model"), build, train, exit_on)
    print(
        f"validation: {result['val_nats']:.4f} nats, {result['val_bits']:.4f} bits per character, "
        f"perplexity {result['val_perplexity']:.3f}"
    )


if __name__ == "__main__":
    main()
