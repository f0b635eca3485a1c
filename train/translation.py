"""Trains a translator, an encoder and a decoder with or without attention: `python -m train.translation --help`.

Shapes: B pairs, S source tokens, T target tokens, V target vocabulary, N pairs of a split, L tokens written at most.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.layers.pairs import Pairs
from train.data.parallel import PAD, Corpus, ReadingConfig, Sentences, load_corpus
from train.shared import figures, report
from train.shared.buckets import Buckets
from train.shared.config import TrainingConfig
from train.shared.feed import streaming
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh
from train.shared.metrics import Criterion, describe_best, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import describe_run, exit_on, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step
from train.shared.text_scores import bleu, exact, scores_by_length
from train.shared.training import read_options, run_training, train_to_best
from train.trained import create_translator
from train.translator import Translator, given, scores

CRITERION = Criterion("val/loss", lowest=True)
SHOWN = 6  # sentences whose alignments are drawn
MEASURES = {"dates": {"exact": exact}, "files": {"bleu": bleu, "exact": exact}}  # the first is shown by length too
LABELS = {"bleu": "BLEU", "exact": "exact"}


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    """Train a translator. The defaults learn to read dates, however they are written."""

    data: str = "dates"
    """Corpus: dates, written in many ways and in ISO 8601 (needs no files), or files, sentences of your own."""
    data_dir: Path | None = None
    """files: a directory of train.FROM, train.TO, val.FROM, val.TO, and if there is a test split test.FROM, test.TO."""
    model: Literal["lstm", "gru", "transformer"] = "lstm"
    """Recurrent layers, or blocks of attention."""
    attention: Literal["none", "additive", "multiplicative", "dot"] = "additive"
    """lstm, gru: how the decoder looks at the source: not at all (it has the encoder's last state), as Bahdanau or as
    Luong."""
    hidden: int = 128
    """Units of each layer or block."""
    num_layers: int = 1
    """Layers or blocks of the encoder, and of the decoder."""
    embedding: int = 64
    """lstm, gru: numbers that stand for a token."""
    bidirectional: bool = True
    """lstm, gru: whether the encoder reads in both directions, with half of the units for each."""
    num_heads: int = 4
    """transformer: heads of attention, which divide the units."""
    dropout: float = 0.0
    """Share of the activations dropped in training."""
    scheduled_sampling: float = 0.0
    """Probability, at the end of the run, that the decoder is given a token of its own in training; it rises from 0."""
    beams: int = 5
    """Beams of the search that the final score is of."""
    length_penalty: float = 1.0
    """Exponent of the length that the scores of the search are divided by."""
    label_smoothing: float = 0.0
    """Share of the probability spread evenly over the vocabulary in training."""
    batch_size: int = 64
    """Pairs per step, over all devices: of short sentences more, of long ones fewer, as many tokens as can be."""
    epochs: int = 4
    """Passes over the training part."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Options of reading files."""
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=4e-3, weight_decay=1e-3, clip_norm=1.0)
    )
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        super().__post_init__()
        self.check_least(1, "hidden", "num_layers", "embedding", "num_heads", "beams")
        self.check_least(0, "length_penalty")
        self.check_rates("dropout", "label_smoothing")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"--scheduled-sampling must be from 0 to 1, got {self.scheduled_sampling}")
        if self.model == "transformer":
            if self.hidden % (2 * self.num_heads):
                raise ValueError(
                    f"--hidden must be a multiple of twice --num-heads {self.num_heads}, got {self.hidden}"
                )
        elif self.bidirectional and self.hidden % 2:
            raise ValueError(f"--hidden must be even, half for each direction of the encoder, got {self.hidden}")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"translation-{self.kind}-{self.data}-{self.seed}"

    @property
    def kind(self) -> str:
        """What tells translators apart: the attention of recurrent ones."""
        return "transformer" if self.model == "transformer" else self.attention


def make_loss_fn(
    model: nn.Module, sampling: Callable[[jax.Array], jax.Array] | None = None, smoothing: float = 0.0
) -> Callable:
    """Returns the loss of a batch of `Pairs` (see `make_train_step`), in nats, summed over the tokens to be written.

    Args:
        model: the translator.
        sampling: the probability of scheduled sampling by the step; None for teacher forcing.
        smoothing: see `scores`.
    """

    def loss_fn(params, model_state, batch, rng, step):
        keys = dict(zip(("dropout", "sampling"), jax.random.split(rng), strict=True))
        options = {} if sampling is None else {"sampling": sampling(step)}
        logits = model.apply({"params": params}, given(batch), train=True, rngs=keys, **options)
        sums = scores(logits, batch.target[:, 1:], smoothing)
        return (sums.pop("loss"), sums.pop("count")), (model_state, sums)

    return loss_fn


def batches(split: Sentences, order: Buckets, first: int) -> Iterator[Pairs]:
    """Yields the batches of the steps from a given one on."""
    for step in itertools.count(first):
        chosen, (source, target) = order(step)
        yield Pairs(split.source[chosen, :source], split.lengths[chosen], split.target[chosen, :target])


@dataclasses.dataclass
class Experiment:
    """What a config stands for: corpus, model, step and state, laid out on devices, nothing run yet."""

    corpus: Corpus
    model: nn.Module
    translator: Translator
    order: Buckets
    schedule: optax.Schedule
    advance: Callable
    state: TrainState

    def texts(self, written: np.ndarray) -> list[str]:  # [N, L]
        """Returns translations as texts."""
        return [self.corpus.target.decode(row) for row in written.tolist()]

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Returns what is measured along a run, on the validation part."""
        params, val = state.variables["params"], self.corpus.splits["val"]
        written = self.texts(self.translator.write(params, val))
        return {**self.translator.measure(params, val), "exact": exact(written, val.translations)}


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be, or a corpus that cannot be read; the message names it.
        FileNotFoundError: there is no such file.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    corpus = load_corpus(config.data, config.data_dir, config.reading)
    split = corpus.splits["train"]
    lengths = np.stack([split.lengths, np.count_nonzero(split.target != PAD, 1)], 1)
    multiple = mesh.size * config.optimizer.accumulate
    order = Buckets(lengths, config.batch_size, config.seed, multiple=multiple)
    model = create_translator(describe(config, corpus)["model"])
    steps = config.epochs * order.steps_per_epoch
    schedule = make_schedule(config.optimizer, steps)
    optimizer, decay = make_optimizer(config.optimizer, schedule), config.optimizer.ema
    sampling = (lambda step: config.scheduled_sampling * step / steps) if config.scheduled_sampling else None
    train_step = make_train_step(
        make_loss_fn(model, sampling, config.label_smoothing),
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(jv.init(model, init_key), optimizer, run_key, average=decay is not None)
    source = partial(batches, split, order)
    advance, state = streaming(train_step, source, state, mesh, compilation=config.compile)
    translator = Translator(model, split.target.shape[1] - 1, mesh)
    return Experiment(corpus, model, translator, order, schedule, advance, state)


def describe(config: Config, corpus: Corpus) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it, and what corpus it is of."""
    sizes = {"source_size": len(corpus.source.tokens), "target_size": len(corpus.target.tokens)}
    max_source = max(corpus.splits["train"].source.shape[1], config.reading.max_length)
    longest = max(max_source, *(part.target.shape[1] for part in corpus.splits.values()))
    return {
        "model": {**sizes, **model_fields(config, longest), "dtype": config.precision},
        "source": dataclasses.asdict(corpus.source),
        "target": dataclasses.asdict(corpus.target),
        "max_source": max_source,
        "max_target": corpus.splits["train"].target.shape[1] - 1,
        "sha256": corpus.digest,
    }


def model_fields(config: Config, longest: int) -> dict[str, Any]:
    """Returns the fields of `Seq2Seq`, or those of `Transformer` that takes as many tokens as `longest`."""
    if config.model != "transformer":
        same = ("hidden", "num_layers", "embedding", "bidirectional", "attention", "dropout")
        return {"cell": config.model} | {name: getattr(config, name) for name in same}
    size = {"dim": config.hidden, "depth": config.num_layers, "hidden": 4 * config.hidden}
    how = {"shared": "target", "norm_first": True, "final_norm": True, "max_length": longest}
    return {**size, "num_heads": config.num_heads, "dropout_rate": config.dropout, **how}


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to, its corpus has changed, or sacrebleu is not installed.
        CheckpointError, NonFiniteLossError: see `fit`.
    """
    corpus = experiment.corpus
    if config.data == "files":
        bleu(["a"], ["a"])  # fails here where it is not installed, and not after hours
    describe_run(config.directory, describe(config, corpus), "corpus")
    sizes = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits.items())
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.order.steps_per_epoch,
        evaluate=experiment.evaluate,
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.kind,
        about=f"pairs: {sizes}; {len(corpus.source.tokens):,} and {len(corpus.target.tokens):,} tokens; ",
        unit="tokens",
    )
    return conclude(config, experiment, state.variables["params"], best)


def conclude(config: Config, experiment: Experiment, params: Any, step: int) -> dict[str, Any]:
    """Scores the best state on the last split, and writes weights, report, and the result last."""
    directory, translator = config.directory, experiment.translator
    name, split = list(experiment.corpus.splits.items())[-1]
    searched = translator.write(params, split, config.beams, config.length_penalty)
    texts, likeliest = experiment.texts(searched), experiment.texts(translator.write(params, split))
    result = {"step": step, "split": name, **translator.measure(params, split)}
    for score, measure in MEASURES[config.data].items():
        result[score] = measure(texts, split.translations)
        result[f"{score}_greedy"] = measure(likeliest, split.translations)
    first, measure = next(iter(MEASURES[config.data].items()))
    lengths = np.array([len(experiment.corpus.source.pieces(source)) for source, _ in split.texts])
    by_length = scores_by_length(texts, split.translations, lengths, measure)
    result["by_length"] = {group: {first: value, "pairs": count} for group, (value, count) in by_length.items()}
    jv.save_weights(experiment.model, {"params": params}, directory / "weights.safetensors", overwrite=True)
    records = read_metrics(directory / "metrics.jsonl")
    report.write_report(
        directory,
        title=f"{config.num_layers} x {config.hidden} {config.model}, attention: {config.kind}",
        summary={
            name: headline(result),
            "nats per token": f"{result['loss']:.4f}",
            "best step": describe_best(records, CRITERION, step, config.epochs * experiment.order.steps_per_epoch),
        },
        config=to_json(config),
        records=records,
        figures={
            "Learning curves": figures.learning_curves(records),
            f"Translations of {name} by the length of the source": figures.bars_by_length(by_length, LABELS[first]),
            **draw(experiment, params, split.first(SHOWN), searched[:SHOWN]),
        },
    )
    write_json(directory / "result.json", result)
    return result


def headline(result: dict[str, Any]) -> str:
    """Returns the scores of a result: by beam search, and of the likeliest tokens."""
    bleu_of = f"BLEU {result['bleu']:.2f}, greedy {result['bleu_greedy']:.2f}; " if "bleu" in result else ""
    return f"{bleu_of}exact {result['exact']:.2%}, greedy {result['exact_greedy']:.2%}"


def draw(experiment: Experiment, params: Any, split: Sentences, written: np.ndarray) -> dict[str, Figure]:
    """Draws where the decoder looked as it wrote translations, int [N, L], if it looks at all."""
    looks = experiment.translator.look(params, split, written, experiment.corpus.source, experiment.corpus.target)
    if not looks:
        return {}
    means = [(source, said, shares.mean(0)) for source, said, shares in looks]
    drawn = {"Where the decoder looked": figures.alignments(means)}
    if len(looks[0][2]) > 1:
        drawn["Where each head of its last block looked"] = figures.heads(looks[:1])
    return drawn


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    result = run_training(read_options(Config, "translation"), build, train, exit_on)
    print(f"{result['split']}: {headline(result)}")


if __name__ == "__main__":
    main()
