"""Trains a translator, an encoder and a decoder with or without attention: `python -m train.translation --help`.

Shapes: B pairs, S source tokens, T target tokens, V target vocabulary, N pairs of a split, L tokens written at most.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxvision as jv
from jaxvision.ops.decoding import beam_search, greedy
from jaxvision.rnn.seq2seq import Pairs, Seq2Seq
from train.data.parallel import END, PAD, START, Corpus, Sentences, load_corpus
from train.shared import figures, report
from train.shared.checkpoint import Checkpoints
from train.shared.feed import ShuffledOrder, resident
from train.shared.loop import fit
from train.shared.machine import machine
from train.shared.mesh import PMAP_AXIS, Compilation, batch_sharding, check_batch_size, make_mesh
from train.shared.metrics import Criterion, MetricsLog, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.progress import progress
from train.shared.run import RunError, check_run, exit_on, read_json, start_run, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step, means

SHOWN = 6  # sentences whose alignments are drawn


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a translator. The defaults learn to read dates, however they are written."""

    data: str = "dates"
    """Corpus: dates, written in many ways and in ISO 8601 (needs no files), or files, sentences of your own."""
    data_dir: Path | None = None
    """files: a directory of train.FROM, train.TO, val.FROM, val.TO, and if there is a test split test.FROM, test.TO."""
    languages: tuple[str, str] = ("de", "en")
    """files: their endings, FROM and TO."""
    max_words: int = 10_000
    """files: words of each vocabulary, the most frequent; others are unknown."""
    max_length: int = 60
    """files: most tokens of a sentence; a longer one is an error that names it."""
    attention: Literal["none", "additive", "multiplicative", "dot"] = "additive"
    """How the decoder looks at the source: not at all (it has the encoder's last state), as Bahdanau or as Luong."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Recurrent cell."""
    hidden: int = 128
    """Units of each layer."""
    num_layers: int = 1
    """Recurrent layers of the encoder, and of the decoder."""
    embedding: int = 64
    """Numbers that stand for a token."""
    bidirectional: bool = True
    """Whether the encoder reads in both directions, with half of the units for each."""
    dropout: float = 0.0
    """Share of the activations dropped in training."""
    scheduled_sampling: float = 0.0
    """Probability, at the end of the run, that the decoder is given a token of its own in training; it rises from 0."""
    beams: int = 5
    """Beams of the search that the final score is of."""
    length_penalty: float = 1.0
    """Exponent of the length that the scores of the search are divided by."""
    batch_size: int = 64
    """Pairs per step, over all devices."""
    epochs: int = 4
    """Passes over the training part."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and reductions are float32."""
    seed: int = 0
    """Of initial parameters, data order, dropout and scheduled sampling."""
    evaluate_every: int = 1
    """Epochs between evaluations on the validation part, each followed by a checkpoint."""
    max_nonfinite: int = 10
    """Steps in a row with a loss that is not finite before the run stops; each such step is skipped."""
    devices: int | None = None
    """Devices to use; None for all."""
    fsdp: int = 1
    """Devices over which each copy of the parameters is cut up."""
    compile: Compilation = "jit"
    """How steps are compiled: jit, or pmap, pure data parallelism with a copy of the program for each device."""
    run_dir: Path | None = None
    """Directory of the run; by default runs/translation-<attention>-<data>-<seed>. If unfinished it is gone on with."""
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=4e-3, weight_decay=1e-3, clip_norm=1.0)
    )
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        positive = ("max_words", "max_length", "hidden", "num_layers", "embedding", "beams", "epochs")
        for name in (*positive, "evaluate_every", "max_nonfinite"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")
        for name in ("seed", "length_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout}")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"--scheduled-sampling must be from 0 to 1, got {self.scheduled_sampling}")
        if self.bidirectional and self.hidden % 2:
            raise ValueError(f"--hidden must be even, half for each direction of the encoder, got {self.hidden}")
        if self.optimizer.schedule == "plateau":
            raise ValueError("--schedule plateau follows an accuracy; a translator is kept by its loss")

    @property
    def directory(self) -> Path:
        """The directory of the run."""
        return self.run_dir or Path("runs", f"translation-{self.attention}-{self.data}-{self.seed}")


def make_loss_fn(model: Seq2Seq, sampling: Callable[[jax.Array], jax.Array] | None = None) -> Callable:
    """Returns the loss of a batch of `Pairs` (see `make_train_step`), in nats, summed over the tokens to be written.

    Args:
        model: the translator.
        sampling: the probability of scheduled sampling by the step; None for teacher forcing.
    """

    def loss_fn(params, model_state, batch, rng, step):
        keys = dict(zip(("dropout", "sampling"), jax.random.split(rng), strict=True))
        options = {"sampling": sampling and sampling(step), "train": True, "rngs": keys}
        sums = scores(model.apply({"params": params}, given(batch), **options), batch.target[:, 1:])
        return (sums.pop("loss"), sums.pop("count")), (model_state, sums)

    return loss_fn


def given(pairs: Pairs) -> Pairs:  # target [B, T + 1] -> [B, T]
    """Returns what the decoder is given: all but the last token, which nothing follows."""
    return pairs._replace(target=pairs.target[:, :-1])


def scores(logits: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:  # [B, T, V], [B, T]
    """Returns the sums of the loss in nats and of the likeliest tokens that are right, and their number, no padding."""
    logits, weights = logits.astype(jnp.float32), (targets != PAD).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    correct = logits.argmax(-1) == targets
    return {"loss": (losses * weights).sum(), "accuracy": (correct * weights).sum(), "count": weights.sum()}


class Translator:
    """What a model says of whole splits, the same whatever the batch size and the devices."""

    def __init__(self, model: Seq2Seq, max_length: int, mesh: jax.sharding.Mesh, batch_size: int = 250):
        """Compiles nothing yet; `max_length` is L."""
        self._batch_size, self._sharding = -(-batch_size // mesh.size) * mesh.size, batch_sharding(mesh)
        logits = lambda params, pairs: model.apply({"params": params}, given(pairs), train=False)
        self._scores = jax.jit(lambda params, pairs: scores(logits(params, pairs), pairs.target[:, 1:]))

        def write(params, pairs, search):
            variables = {"params": params}
            memory, state = model.apply(variables, pairs.source, pairs.lengths, train=False, method="encode")
            step = lambda tokens, state: model.apply(variables, tokens, state, memory, method="step")
            return search(step, state, jnp.full(len(pairs.source), START), max_length=max_length, end=END)

        def by_beams(params, pairs, beams, length_penalty):
            search = partial(beam_search, beams=beams, length_penalty=length_penalty)
            return write(params, pairs, search).tokens[:, 0]

        self._greedy = jax.jit(partial(write, search=greedy))
        self._beams = jax.jit(by_beams, static_argnums=(2, 3))

    def measure(self, params: Any, split: Sentences) -> dict[str, float]:
        """Returns the means over the tokens of a split, each after those that are right."""
        totals: dict[str, float] = {}
        for batch, _ in self._batches(split):
            sums = jax.device_get(self._scores(params, batch))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        return means(totals)

    def write(self, params: Any, split: Sentences, beams: int = 1, length_penalty: float = 0.0) -> np.ndarray:
        """Returns the translations of a split, int [N, L]: by beam search, or with one beam the likeliest tokens."""
        run = self._greedy if beams == 1 else lambda *args: self._beams(*args, beams, length_penalty)
        return np.concatenate([np.asarray(run(params, batch))[:size] for batch, size in self._batches(split)])

    def _batches(self, split: Sentences):
        """Yields batches, and how many pairs of each are not padding."""
        for first in range(0, len(split), self._batch_size):
            size = min(self._batch_size, len(split) - first)
            fill = lambda array: np.pad(array, ((0, self._batch_size - size), *[(0, 0)] * (array.ndim - 1)))  # noqa: B023
            parts = (array[first : first + size] for array in (split.source, split.lengths, split.target))
            yield jax.device_put(Pairs(*map(fill, parts)), self._sharding), size


def exact(written: Sequence[str], texts: Sequence[tuple[str, str]]) -> float:
    """Returns the share of translations that are what was asked for to the letter."""
    return float(np.mean([said == right for said, (_, right) in zip(written, texts, strict=True)]))


def bleu(written: Sequence[str], texts: Sequence[tuple[str, str]]) -> float:
    """Returns sacreBLEU's score of translations, 0 to 100.

    Raises:
        RunError: sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ModuleNotFoundError as error:
        raise RunError('BLEU is measured by sacrebleu: pip install -e ".[translation]"') from error
    return sacrebleu.corpus_bleu(list(written), [[right for _, right in texts]]).score


def scores_by_length(
    written: Sequence[str], split: Sentences, score: Callable[[Sequence[str], Sequence[tuple[str, str]]], float]
) -> dict[str, tuple[float, int]]:
    """Returns the score of the translations of sources of 1 to 10 tokens, 11 to 20 and so on, and their number."""
    found, groups = {}, (split.lengths - 1) // 10
    for group in np.unique(groups).tolist():
        members = np.flatnonzero(groups == group)
        value = score([written[n] for n in members], [split.texts[n] for n in members])
        found[f"{10 * group + 1}–{10 * group + 10}"] = value, len(members)
    return found


@dataclasses.dataclass
class Experiment:
    """What a config stands for: corpus, model, step and state, laid out on devices, nothing run yet."""

    corpus: Corpus
    model: Seq2Seq
    translator: Translator
    order: ShuffledOrder
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
        return {**self.translator.measure(params, val), "exact": exact(written, val.texts)}


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be, or a corpus that cannot be read; the message names it.
        FileNotFoundError: there is no such file.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    corpus = load_corpus(config.data, config.data_dir, config.languages, config.max_words, config.max_length)
    split = corpus.splits["train"]
    order = ShuffledOrder(len(split), config.batch_size, config.seed)
    model = create_translator(describe(config, corpus)["model"])
    steps = config.epochs * order.steps_per_epoch
    schedule = make_schedule(config.optimizer, steps)
    optimizer, decay = make_optimizer(config.optimizer, schedule), config.optimizer.ema
    sampling = (lambda step: config.scheduled_sampling * step / steps) if config.scheduled_sampling else None
    train_step = make_train_step(
        make_loss_fn(model, sampling),
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    state = create_state(jv.init(model, init_key), optimizer, run_key, average=decay is not None)
    pairs = Pairs(split.source, split.lengths, split.target)
    advance, state = resident(train_step, pairs, order, state, mesh, compilation=config.compile)
    translator = Translator(model, split.target.shape[1] - 1, mesh)
    return Experiment(corpus, model, translator, order, schedule, advance, state)


def describe(config: Config, corpus: Corpus) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it, and what corpus it is of."""
    sizes = {"source_size": len(corpus.source.tokens), "target_size": len(corpus.target.tokens)}
    fields = ("cell", "hidden", "num_layers", "embedding", "bidirectional", "attention", "dropout")
    return {
        "model": {**sizes, **{name: getattr(config, name) for name in fields}, "dtype": config.precision},
        "source": dataclasses.asdict(corpus.source),
        "target": dataclasses.asdict(corpus.target),
        "sha256": corpus.digest,
    }


def create_translator(fields: dict[str, Any]) -> Seq2Seq:
    """Makes a model of its fields as `model.json` has them."""
    return Seq2Seq(**{**fields, "dtype": jnp.dtype(fields["dtype"])})


def check_corpus(directory: Path, about: dict[str, Any]) -> None:
    """Writes `model.json`, or checks that the corpus of a run that is gone on with is the one it began with.

    Raises:
        RunError: it is another.
    """
    file = directory / "model.json"
    if not file.exists():
        write_json(file, about)
    elif (there := read_json(file)["sha256"]) != about["sha256"]:
        raise RunError(
            f"{directory} was begun with another corpus (SHA-256 {there[:12]}, now {about['sha256'][:12]}): give that, "
            "or another --run-dir"
        )


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to, its corpus has changed, or sacrebleu is not installed.
        CheckpointError, NonFiniteLossError: see `fit`.
    """
    directory, corpus, per_epoch = config.directory, experiment.corpus, experiment.order.steps_per_epoch
    if config.data == "files":
        bleu(["a"], [("a", "a")])  # fails here where it is not installed, and not after hours
    check_corpus(directory, describe(config, corpus))
    steps, begun = config.epochs * per_epoch, time.perf_counter()
    checkpoints = Checkpoints(directory / "checkpoints", Criterion("val/loss", lowest=True))
    start, state = checkpoints.restore_latest(experiment.state) or (0, experiment.state)
    sizes = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits.items())
    print(
        f"{directory}: pairs: {sizes}; {len(corpus.source.tokens):,} and {len(corpus.target.tokens):,} tokens; "
        + (f"going on after step {start} of {steps}" if start else f"{steps} steps")
    )
    with MetricsLog(directory, start or None) as log, progress(steps, config.attention, start=start) as bar:
        state = fit(
            state,
            experiment.advance,
            total_steps=steps,
            steps_per_epoch=per_epoch,
            log_every=min(per_epoch, 100),
            evaluate_every=config.evaluate_every * per_epoch,
            evaluate=experiment.evaluate,
            schedule=experiment.schedule,
            checkpoints=checkpoints,
            log=log,
            progress=bar,
            max_nonfinite=config.max_nonfinite,
            unit="tokens",
        )
    best, state = checkpoints.restore_best(state)
    checkpoints.close()
    write_json(directory / "machine.json", {**machine(), "from_step": start, "seconds": time.perf_counter() - begun})
    return conclude(config, experiment, state.variables["params"], best)


def conclude(config: Config, experiment: Experiment, params: Any, step: int) -> dict[str, Any]:
    """Scores the best state on the last split, and writes weights, report, and the result last."""
    directory, (name, split) = config.directory, list(experiment.corpus.splits.items())[-1]
    measured = experiment.translator.measure(params, split)
    likeliest = experiment.texts(experiment.translator.write(params, split))
    searched = experiment.texts(experiment.translator.write(params, split, config.beams, config.length_penalty))
    score, scored = (bleu, "BLEU") if config.data == "files" else (exact, "exact")
    by_length = figures.bars_by_length(scores_by_length(searched, split, score), scored)
    result = {"step": step, "split": name, "loss": measured["loss"], "accuracy": measured["accuracy"]}
    result |= {"exact": exact(searched, split.texts), "exact_greedy": exact(likeliest, split.texts)}
    if config.data == "files":
        result |= {"bleu": bleu(searched, split.texts), "bleu_greedy": bleu(likeliest, split.texts)}
    jv.save_weights(experiment.model, {"params": params}, directory / "weights.safetensors", overwrite=True)
    records = read_metrics(directory / "metrics.jsonl")
    summary = {f"{name} BLEU": f"{result['bleu']:.2f}"} if "bleu" in result else {}
    summary |= {
        f"{name} exact": f"{result['exact']:.2%}",
        "exact, greedy": f"{result['exact_greedy']:.2%}",
        "nats per token": f"{result['loss']:.4f}",
        "best step": f"{step:,} of {config.epochs * experiment.order.steps_per_epoch:,}",
    }
    report.write_report(
        directory,
        title=f"{config.num_layers} x {config.hidden} {config.cell.upper()}, attention: {config.attention}",
        summary=summary,
        config=to_json(config),
        records=records,
        figures={
            "Learning curves": figures.learning_curves(records),
            f"Translations of {name} by the length of the source": by_length,
            **draw(experiment, params, split, searched),
        },
    )
    write_json(directory / "result.json", result)
    return result


def draw(experiment: Experiment, params: Any, split: Sentences, written: Sequence[str]) -> dict[str, Any]:
    """Draws where the decoder looked as it wrote the first translations of a split, if it looks at all."""
    if experiment.model.attention == "none":
        return {}
    corpus = experiment.corpus
    chosen = Sentences(
        split.texts[:SHOWN],
        split.source[:SHOWN],
        split.lengths[:SHOWN],
        np.stack([_framed(corpus.target.encode(text), split.target.shape[1]) for text in written[:SHOWN]]),
    )
    pairs = given(Pairs(chosen.source, chosen.lengths, chosen.target))
    align = jax.jit(partial(experiment.model.apply, train=False, method="align"))
    _, weights = align({"params": params}, pairs)
    named = lambda row, vocabulary: [vocabulary.tokens[token].strip() or "␣" for token in row]
    examples = [
        (
            named(chosen.source[n, : chosen.lengths[n]], corpus.source),
            named(row[1 : 1 + np.count_nonzero(row[1:] != PAD)], corpus.target),
            np.asarray(weights[n], np.float32),
        )
        for n, row in enumerate(chosen.target)
    ]
    return {"Where the decoder looked": figures.alignments(examples)}


def _framed(tokens: Sequence[int], width: int) -> np.ndarray:  # -> [width]
    row = np.array([START, *tokens[: width - 2], END], np.int32)
    return np.pad(row, (0, width - len(row)), constant_values=PAD)


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run; of a complete run it returns the result (see `train`).

    Raises:
        ValueError, FileNotFoundError: see `build`.
        RunError, CheckpointError, NonFiniteLossError: see `train`.
    """
    if result := check_run(config.directory, config):
        print(f"{config.directory} is complete: give another --run-dir, or another --seed, to train anew")
        return result
    experiment = build(config)
    with start_run(config.directory, config):
        return train(config, experiment)


def main() -> None:
    """Trains as the command line says."""
    config = tyro.cli(
        Config, prog="python -m train.translation", config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
    with exit_on(RunError, ValueError, OSError):
        result = run(config)
    score = f", BLEU {result['bleu']:.2f}" if "bleu" in result else ""
    print(f"{result['split']}: exact {result['exact']:.2%}, greedy {result['exact_greedy']:.2%}{score}")


if __name__ == "__main__":
    main()
