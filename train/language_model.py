"""Trains a character language model: `python -m train.language_model --help`.

Recurrent layers learn from streams that go on from step to step (`train/streams.py`), Transformers from windows that
begin anew (`train/windows.py`).
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import optax

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from jaxvision.transformer.gpt import GPT
from train import streams, windows
from train.data.text import Text, load_text
from train.shared import figures, report
from train.shared.config import TrainingConfig
from train.shared.feed import resident
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh
from train.shared.metrics import Criterion, describe_best, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import describe_run, exit_on, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step
from train.shared.training import read_options, run_training, train_to_best
from train.trained import create_language_model

CRITERION = Criterion("val/loss", lowest=True)
STREAMS = 32
"""Of the evaluations along a run. Their states begin at zero, which the final score does once: it is a bit lower."""


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
    model: Literal["rnn", "lstm", "gru", "transformer"] = "lstm"
    """Recurrent layers, or blocks of attention upon what is before."""
    hidden: int = 128
    """Units of each layer or block."""
    num_layers: int = 1
    """Recurrent layers, or blocks."""
    embedding: int = 64
    """rnn, lstm, gru: numbers that stand for a character; 0 for one-hot vectors."""
    num_heads: int = 4
    """transformer: heads of attention, which divide the units."""
    positions: Literal["learned", "sine_cosine", "rotary", "relative", "none"] = "rotary"
    """transformer: how it knows where characters stand."""
    dropout: float = 0.0
    """Share of the activations dropped in training."""
    chunk: int = 64
    """Characters of a stream in a step: how far gradients go back; transformer: how far it sees."""
    batch_size: int = 32
    """Streams that the text is cut into, or transformer: windows of a step, over all devices."""
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
        self.check_least(1, "max_characters", "hidden", "num_layers", "num_heads", "chunk")
        self.check_least(0, "embedding")
        if self.train_characters is not None:
            self.check_least(1, "train_characters")
        self.check_rates("dropout")
        if self.model == "transformer":
            self._check_transformer()
        elif self.optimizer.accumulate > 1:
            raise ValueError("--accumulate must be 1: each row of the batch has a state of its own to carry")

    def _check_transformer(self) -> None:
        self.check_least(2, "chunk")
        if self.hidden % self.num_heads:
            raise ValueError(f"--num-heads must divide --hidden {self.hidden}, got {self.num_heads}")
        even = {"rotary": self.hidden // self.num_heads, "sine_cosine": self.hidden}
        if even.get(self.positions, 0) % 2:
            of = "each head" if self.positions == "rotary" else "--hidden"
            raise ValueError(f"--positions {self.positions} needs an even number of units of {of}")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"{self.model}-{self.data}-{self.seed}"


@dataclasses.dataclass
class Experiment:
    """What a config stands for: text, model, step and state, laid out on devices, nothing run yet."""

    text: Text
    model: LanguageModel | GPT
    evaluator: streams.Evaluator | windows.Evaluator
    order: streams.Streams | windows.Windows
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
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    text = load_text(config.data, config.data_dir, config.max_characters)
    if len(text.val) < 2:
        source = f"--data {config.data}" if config.data_dir is None else f"--data-dir {config.data_dir}"
        raise ValueError(
            f"the validation part of {source} has {len(text.val)} character(s), 2 are needed: give a longer text"
        )
    if (config.train_characters or 0) > len(text.train):
        raise ValueError(f"--train-characters {config.train_characters}: the training part has {len(text.train):,}")
    model = create_language_model(describe(config, text)["model"])
    axis_name = PMAP_AXIS if config.compile == "pmap" else None
    order, loss_fn, carried, evaluator = _parts(config, text, model, axis_name)
    schedule = make_schedule(config.optimizer, config.epochs * order.steps_per_epoch)
    optimizer, decay = make_optimizer(config.optimizer, schedule), config.optimizer.ema
    train_step = make_train_step(
        loss_fn,
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=axis_name,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(jv.init(model, init_key) | carried, optimizer, run_key, average=decay is not None)
    advance, state = resident(train_step, order.chunks, order, state, mesh, compilation=config.compile)
    return Experiment(text, model, evaluator, order, schedule, advance, state)


def _parts(config: Config, text: Text, model: LanguageModel | GPT, axis_name: str | None) -> tuple[Any, ...]:
    """Returns the order of the text, the loss of a batch of it, what is carried from batch to batch, and the scores."""
    cut = text.train[: config.train_characters], config.batch_size, config.chunk
    if isinstance(model, GPT):
        return windows.Windows(*cut, config.seed), windows.make_loss_fn(model), {}, windows.Evaluator(model)
    order = streams.Streams(*cut)
    loss_fn = streams.make_loss_fn(model, order.steps_per_epoch, axis_name)
    return order, loss_fn, {streams.CARRY: model.initial_state(config.batch_size)}, streams.Evaluator(model)


def describe(config: Config, text: Text) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it, and what text it is of."""
    return {
        "model": {"vocabulary_size": len(text.vocabulary), **_fields(config), "dtype": config.precision},
        "vocabulary": text.vocabulary,
        "characters": len(text.train) + len(text.val),
        "sha256": text.digest,
    }


def _fields(config: Config) -> dict[str, Any]:
    if config.model != "transformer":
        same = ("hidden", "num_layers", "embedding", "dropout")
        return {"cell": config.model} | {name: getattr(config, name) for name in same}
    sizes = {"dim": config.hidden, "depth": config.num_layers, "num_heads": config.num_heads}
    rest = {"max_length": config.chunk, "positions": config.positions, "dropout_rate": config.dropout}
    return sizes | rest


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to, or its text has changed.
        CheckpointError, NonFiniteLossError: see `fit`.
    """
    text = experiment.text
    hint = "of --data python: the same version of Python"
    describe_run(config.directory, describe(config, text), "text", hint)
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.order.steps_per_epoch,
        evaluate=lambda state: experiment.evaluator(state.variables["params"], text.val, STREAMS),
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.model,
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
        title=f"{config.num_layers} x {config.hidden} {config.model.upper()} on {config.data}",
        summary={
            "nats per character": f"{result['val_nats']:.4f}",
            "bits per character": f"{result['val_bits']:.4f}",
            "perplexity": f"{result['val_perplexity']:.3f}",
            "accuracy": f"{result['val_accuracy']:.2%}",
            "best step": describe_best(records, CRITERION, step, config.epochs * experiment.order.steps_per_epoch),
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
