"""Trains a captioner, which says in words what an image shows: `python -m train.captioning --help`.

Shapes: B images, R captions of an image, T tokens, S places of the feature map, N images of a split.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from jaxvision.rnn.captioner import CaptionedImages, Captioner
from train.backbone import BackboneConfig, check_takes, expected_images, initial_variables, rates
from train.captioner import Batch, TrainedCaptioner, Writer, batches, create_captioner, forced, look
from train.data.captions import CaptionedSplit, CaptionSet, load_captions
from train.data.image_files import FileSplit, ReadingConfig
from train.data.images import SPLITS, Preprocessing, Split
from train.data.parallel import PAD
from train.shared import caption_figures, figures, report
from train.shared.cider import cider
from train.shared.config import TrainingConfig
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh
from train.shared.metrics import Criterion, describe_best, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import describe_run, exit_on, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step
from train.shared.text_scores import bleu_of_any, exact_of_any
from train.shared.training import read_options, run_training, train_to_best
from train.translator import scores

CRITERION = Criterion("val/loss", lowest=True)
SHOWN, LOOKS = 12, 4  # images that are drawn with their captions, and with where the decoder looked


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    """Train a captioner. The defaults learn to say which handwritten digits lie where."""

    data: str = "scenes"
    """Images: scenes of digits (needs no files), or coco, photographs and captions in COCO's layout."""
    data_dir: Path | None = None
    """coco: the directory of annotations, train2017 and val2017."""
    image_size: int = 24
    """Height and width of the images that the model sees."""
    min_count: int = 5
    """How often the training captions have a word, at the least; others are unknown."""
    max_words: int = 10_000
    """Words of the vocabulary at most, the most frequent; others are unknown."""
    max_length: int = 30
    """Words of a caption that are learnt; what follows is cut off."""
    conditioning: Literal["start", "every", "attention"] = "attention"
    """How the decoder is given the image: once at the start (Show and Tell), at every step, or those places of it that
    it looks at (Show, Attend and Tell)."""
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """Recurrent cell."""
    hidden: int = 128
    """Units of each layer."""
    num_layers: int = 1
    """Recurrent layers."""
    embedding: int = 64
    """Numbers that stand for a word."""
    dropout: float = 0.0
    """Share of the decoder's activations dropped in training."""
    coverage: float = 0.0
    """attention: what it counts in the loss that places are not looked at once in each caption."""
    beams: int = 3
    """Beams of the search that the final score is of."""
    length_penalty: float = 0.0
    """Exponent of the length that the scores of the search are divided by."""
    batch_size: int = 32
    """Images per step, over all devices, each with all of its captions."""
    epochs: int = 16
    """Passes over the training images."""
    evaluate_every: int = 2
    """Epochs between evaluations on the validation split, each followed by a checkpoint."""
    backbone: BackboneConfig = dataclasses.field(default_factory=lambda: BackboneConfig("resnet8"))
    """Options of the network that sees the images."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Options of reading image files."""
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=4e-3, weight_decay=1e-2, clip_norm=1.0)
    )
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        super().__post_init__()
        self.check_least(
            1, "image_size", "min_count", "max_words", "max_length", "hidden", "num_layers", "embedding", "beams"
        )
        self.check_least(0, "coverage", "length_penalty")
        self.check_rates("dropout")
        if self.coverage and self.conditioning != "attention":
            raise ValueError(f"--coverage is of attention, --conditioning {self.conditioning} has none")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"captioning-{self.conditioning}-{self.data}-{self.seed}"


def make_loss_fn(model: Captioner, preprocessing: Preprocessing, coverage: float = 0.0) -> Callable:
    """Returns the loss of a `Batch` (see `make_train_step`), in nats, summed over the tokens to be written.

    Args:
        model: the captioner.
        preprocessing: of the images.
        coverage: what `uncovered` counts in the loss.
    """

    def loss_fn(params, model_state, batch, rng, step):
        del step
        captioned, targets = forced(batch, preprocessing)
        (logits, shares), model_state = model.apply(
            {"params": params, **model_state},
            captioned,
            train=True,
            mutable=[*model_state],
            rngs={"dropout": rng},
            method="align",
        )
        sums = scores(logits, targets)
        loss = sums.pop("loss") + (coverage * uncovered(shares, targets) if coverage else 0.0)
        return (loss, sums.pop("count")), (model_state, sums)

    return loss_fn


def uncovered(shares: jax.Array, targets: jax.Array) -> jax.Array:  # [B R, T, S], [B R, T] -> []
    """Returns the sum of squares of what each place is short of, or beyond, being looked at once in each caption.

    https://arxiv.org/abs/1502.03044, equation 14.
    """
    written = (targets != PAD)[..., None]
    missing = written.any(1) - (shares * written).sum(1, dtype=jnp.float32)  # [B R, S]
    return jnp.square(missing).sum()


@dataclasses.dataclass
class Experiment:
    """What a config stands for: data, model, step and state, laid out on devices, nothing run yet."""

    data: CaptionSet
    model: Captioner
    preprocessing: Preprocessing
    writer: Writer
    order: ShuffledOrder
    schedule: optax.Schedule
    advance: Callable
    state: TrainState

    def write(
        self, variables: Any, split: CaptionedSplit, beams: int = 1, length_penalty: float = 0.0
    ) -> tuple[list[str], list[Sequence[str]]]:
        """Returns the captions of a split, and what is said of the same images."""
        written, rows = self.writer.write(variables, split, beams, length_penalty)
        return [self.data.vocabulary.decode(row) for row in written.tolist()], [split.references[row] for row in rows]

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Returns what is measured along a run, on the validation split."""
        said = self.write(state.variables, self.data.val)
        measured = self.writer.measure(state.variables, self.data.val)
        return {**measured, "exact": exact_of_any(*said), "cider": cider(*said)}


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be, or data that cannot be read; the message names it.
        OSError: there is no such file.
        RunError: the run whose weights are asked for is not complete.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    words = {name: getattr(config, name) for name in ("min_count", "max_words", "max_length")}
    data = load_captions(config.data, config.data_dir, config.image_size, config.reading, **words)
    about = describe(config, data)
    model, preprocessing = create_captioner(about["model"]), Preprocessing(**about["preprocessing"])
    image = jax.ShapeDtypeStruct((1, *data.train.images.shape), jnp.float32)
    example = CaptionedImages(image, jax.ShapeDtypeStruct((1, 2), jnp.int32))
    check_takes(model, example, config.backbone.model, config.data)
    order = ShuffledOrder(len(data.train), config.batch_size, config.seed)
    schedule = make_schedule(config.optimizer, config.epochs * order.steps_per_epoch)
    optimizer, decay = make_optimizer(rates(config.backbone, config.optimizer), schedule), config.optimizer.ema
    train_step = make_train_step(
        make_loss_fn(model, preprocessing, config.coverage),
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    variables = initial_variables(config.backbone, model, about["model"], init_key)
    state = create_state(variables, optimizer, run_key, average=decay is not None)
    if isinstance(data.train.images, Split):
        arrays = Batch(data.train.images.images, data.train.tokens)
        advance, state = resident(train_step, arrays, order, state, mesh, compilation=config.compile)
    else:
        stop = config.epochs * order.steps_per_epoch
        stream = lambda start: (batch for batch, _ in batches(data.train, order, start, stop))
        advance, state = streaming(train_step, stream, state, mesh, compilation=config.compile)
    writer = Writer(model, preprocessing, data.most_tokens, mesh)
    return Experiment(data, model, preprocessing, writer, order, schedule, advance, state)


def describe(config: Config, data: CaptionSet) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it, and what captions it is of.

    Raises:
        ValueError, RunError: see `expected_images`.
    """
    images, backbone = data.train.images, config.backbone
    preprocessing = expected_images(backbone, images.shape[-1], config.image_size, images.statistics)
    fields = ("conditioning", "cell", "hidden", "num_layers", "embedding", "dropout")
    sizes = {"in_channels": images.shape[-1], "vocabulary_size": len(data.vocabulary.tokens)}
    seeing = {"model": backbone.model, "frozen": backbone.frozen, "dtype": config.precision}
    return {
        "model": {**seeing, **{name: getattr(config, name) for name in fields}, **sizes},
        "preprocessing": dataclasses.asdict(preprocessing),
        "vocabulary": dataclasses.asdict(data.vocabulary),
        "max_tokens": data.most_tokens,
        "sha256": data.digest,
    }


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to, its captions have changed, or sacrebleu is not
            installed.
        CheckpointError, NonFiniteLossError, BadImagesError: see `fit` and `FileSplit`.
    """
    data = experiment.data
    if config.data == "coco":
        bleu_of_any(["a"], [["a"]])  # fails here where it is not installed, and not after hours
    if isinstance(data.train.images, FileSplit):
        data.train.images.bad.list_in(config.directory / "bad_images.txt")
    describe_run(config.directory, describe(config, data), "corpus")
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.order.steps_per_epoch,
        evaluate=experiment.evaluate,
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.conditioning,
        about=summary(config, data),
        unit="tokens",
    )
    return conclude(config, experiment, state.variables, best)


def summary(config: Config, data: CaptionSet) -> str:
    """Returns what the first line printed says of the data, with the captions that are cut if there are any."""
    sizes = ", ".join(f"{name} {len(getattr(data, name)):,}" for name in SPLITS)
    cut = f"{data.num_cut:,} captions cut after --max-length {config.max_length} words; " if data.num_cut else ""
    return f"images: {sizes}; {len(data.vocabulary.tokens):,} tokens; {cut}"


def conclude(config: Config, experiment: Experiment, variables: Any, step: int) -> dict[str, Any]:
    """Scores the best state on the test split, and writes weights, report, and the result last."""
    directory, test = config.directory, experiment.data.test
    measured = experiment.writer.measure(variables, test)
    likeliest = experiment.write(variables, test)
    searched = experiment.write(variables, test, config.beams, config.length_penalty)
    metrics = {"exact": exact_of_any, "cider": cider} | ({"bleu": bleu_of_any} if config.data == "coco" else {})
    result = {"step": step, "loss": measured["loss"], "accuracy": measured["accuracy"]}
    result |= {name: metric(*searched) for name, metric in metrics.items()}
    result |= {f"{name}_greedy": metric(*likeliest) for name, metric in metrics.items()}
    jv.save_weights(experiment.model, variables, directory / "weights.safetensors", overwrite=True)
    records = read_metrics(directory / "metrics.jsonl")
    report.write_report(
        directory,
        title=f"{config.backbone.model} and {config.cell.upper()} on {config.data}: {config.conditioning}",
        summary={
            "test": headline(result),
            "nats per token": f"{result['loss']:.4f}",
            "best step": describe_best(records, CRITERION, step, config.epochs * experiment.order.steps_per_epoch),
        },
        config=to_json(config),
        records=records,
        figures={"Learning curves": figures.learning_curves(records), **draw(experiment, variables, searched[0])},
    )
    write_json(directory / "result.json", result)
    return result


def headline(result: dict[str, Any]) -> str:
    """Returns the scores of a result: by beam search, and of the likeliest words."""
    bleu_of = f", BLEU {result['bleu']:.2f}" if "bleu" in result else ""
    return f"CIDEr-D {result['cider']:.3f}{bleu_of}, exact {result['exact']:.2%}, greedy {result['exact_greedy']:.2%}"


def draw(experiment: Experiment, variables: Any, written: Sequence[str]) -> dict[str, Any]:
    """Draws the first images of the test split with their captions, and where the decoder looked if it does."""
    split = experiment.data.test
    batch, rows = next(batches(split, lambda _: np.arange(min(SHOWN, len(split))), 0, 1))
    references = [split.references[row] for row in rows]
    drawn = {"What the captioner says": caption_figures.captioned_images(batch.image, written, references)}
    data = experiment.data
    trained = TrainedCaptioner(experiment.model, variables, experiment.preprocessing, data.vocabulary, data.most_tokens)
    looks = look(trained, batch.image[:LOOKS], written[:LOOKS])
    return drawn | ({"Where it looks for each word": caption_figures.looks(looks)} if looks else {})


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    result = run_training(read_options(Config, "captioning"), build, train, exit_on)
    print(headline(result))


if __name__ == "__main__":
    main()
