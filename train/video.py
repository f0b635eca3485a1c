"""Trains a classifier of videos: `python -m train.video --help`.

Shapes: B videos, T frames, H height, W width, C channels, K classes, N videos of a split.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.rnn.video import Video, VideoClassifier
from train.backbone import BackboneConfig, check_takes, create_classifier, expected_images, initial_variables, rates
from train.data.image_files import ReadingConfig
from train.data.images import SPLITS, Batch, Preprocessing
from train.data.video_files import VideoFiles
from train.data.videos import Clips, VideoSet, load_videos
from train.shared import figures, report, video_figures
from train.shared.config import TrainingConfig
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.losses import cross_entropy
from train.shared.mesh import PMAP_AXIS, batch_sharding, check_batch_size, make_mesh
from train.shared.metrics import Criterion, describe_best, read_metrics
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import exit_on, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step
from train.shared.training import read_options, run_training, train_to_best

CRITERION = Criterion("val/accuracy")
SHOWN = 4  # videos that are drawn


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
    """Train a classifier of videos. The defaults tell how handwritten digits move."""

    data: str = "motions"
    """Videos: motions, digits that move (needs no files), or folder, video files or folders of frames."""
    data_dir: Path | None = None
    """folder: the directory of train/CLASS, val/CLASS and test/CLASS, or of CLASS."""
    image_size: int = 32
    """Height and width of the frames that the model sees."""
    num_frames: int = 16
    """folder: frames of a video at most, as far apart as can be."""
    head: Literal["lstm", "mean"] = "lstm"
    """What becomes of the frames: an LSTM reads them in their order (LRCN), or their mean counts."""
    hidden: int = 128
    """lstm: units of each layer."""
    num_layers: int = 1
    """lstm: recurrent layers."""
    dropout: float = 0.0
    """Share of the activations of the head dropped in training."""
    batch_size: int = 32
    """Videos per step, over all devices."""
    epochs: int = 10
    """Passes over the training videos."""
    backbone: BackboneConfig = dataclasses.field(default_factory=lambda: BackboneConfig("lenet5"))
    """Options of the network that sees each frame."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Options of reading files."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=lambda: OptimizerConfig(clip_norm=1.0))
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        super().__post_init__()
        self.check_least(1, "image_size", "num_frames", "hidden", "num_layers")
        self.check_rates("dropout")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"video-{self.head}-{self.data}-{self.seed}"


def seen(batch: Batch, preprocessing: Preprocessing) -> Video:
    """Returns what the model is given of a batch `{"frames": uint8 [B, T, H, W, C], "length": int [B], ...}`."""
    frames = batch["frames"]
    images = preprocessing(frames.reshape(-1, *frames.shape[2:]))
    return Video(images.reshape(*frames.shape[:2], *images.shape[1:]), batch["length"])


def scores(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:  # [B, K], [B] -> twice [B]
    """Returns the loss in nats, and 1 where the likeliest class is the right one, in float32."""
    return cross_entropy(logits, labels), (logits.argmax(-1) == labels).astype(jnp.float32)


def make_loss_fn(model: VideoClassifier, preprocessing: Preprocessing) -> Callable:
    """Returns the loss of a batch, with `"label": int [B]` (see `make_train_step`)."""

    def loss_fn(params, model_state, batch, rng, step):
        del step
        variables, options = {"params": params, **model_state}, {"mutable": [*model_state], "rngs": {"dropout": rng}}
        logits, model_state = model.apply(variables, seen(batch, preprocessing), train=True, **options)
        losses, correct = scores(logits, batch["label"])
        return (losses.sum(), jnp.float32(len(losses))), (model_state, {"accuracy": correct.sum()})

    return loss_fn


class Evaluator:
    """What a model says of whole splits, the same whatever the batch size and the devices."""

    def __init__(
        self, model: VideoClassifier, preprocessing: Preprocessing, mesh: jax.sharding.Mesh, batch_size: int = 64
    ):
        """Compiles nothing yet."""
        self._batch_size, self._sharding = -(-batch_size // mesh.size) * mesh.size, batch_sharding(mesh)

        def told(variables, batch):
            logits = model.apply(variables, seen(batch, preprocessing), train=False)
            return (*scores(logits, batch["label"]), logits.argmax(-1))

        frames = lambda variables, batch: model.apply(
            variables, seen(batch, preprocessing), train=False, method="frame_logits"
        )
        self._told, self._frames = jax.jit(told), jax.jit(frames)

    def __call__(self, variables: Any, split: Clips | VideoFiles) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Returns the mean loss and accuracy over a split, and of its videos the classes told and the labels [N]."""
        size, parts = self._batch_size, []
        order = lambda step: np.arange(step * size, min((step + 1) * size, len(split)))
        for batch in split.batches(order, 0, -(-len(split) // size)):
            count = len(batch["label"])
            fill = lambda array: np.pad(array, ((0, size - count), *[(0, 0)] * (array.ndim - 1)), "edge")  # noqa: B023
            found = self._told(variables, jax.device_put({k: fill(v) for k, v in batch.items()}, self._sharding))
            parts.append([*(np.asarray(part)[:count] for part in found), batch["label"]])
        losses, correct, told, labels = map(np.concatenate, zip(*parts, strict=True))
        return (
            {"loss": losses.mean(dtype=np.float64).item(), "accuracy": correct.mean(dtype=np.float64).item()},
            told,
            labels,
        )

    def over_time(self, variables: Any, batch: Batch) -> np.ndarray:  # -> [B, T, K]
        """Returns how probable each class is after each frame."""
        return np.asarray(jax.nn.softmax(self._frames(variables, batch).astype(jnp.float32)))


@dataclasses.dataclass
class Experiment:
    """What a config stands for: data, model, step and state, laid out on devices, nothing run yet."""

    data: VideoSet
    model: VideoClassifier
    preprocessing: Preprocessing
    evaluator: Evaluator
    order: ShuffledOrder
    schedule: optax.Schedule
    advance: Callable
    state: TrainState


def build(config: Config) -> Experiment:
    """Makes what a config asks for.

    Raises:
        ValueError: an option that cannot be, or data that cannot be read; the message names it.
        OSError: there is no such file.
        RunError: the run whose weights are asked for is not complete, or PyAV is not installed.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    data = load_videos(config.data, config.data_dir, config.image_size, config.num_frames, config.reading)
    about = describe(config, data)
    model, preprocessing = create_video_classifier(about["model"]), Preprocessing(**about["preprocessing"])
    frames = jax.ShapeDtypeStruct((1, *data.train.shape), jnp.float32)
    check_takes(model, Video(frames, jax.ShapeDtypeStruct((1,), jnp.int32)), config.backbone.model, config.data)
    order = ShuffledOrder(len(data.train), config.batch_size, config.seed)
    stop = config.epochs * order.steps_per_epoch
    schedule = make_schedule(config.optimizer, stop)
    optimizer, decay = make_optimizer(rates(config.backbone, config.optimizer), schedule), config.optimizer.ema
    train_step = make_train_step(
        make_loss_fn(model, preprocessing),
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    variables = initial_variables(config.backbone, model, about["model"], init_key)
    state = create_state(variables, optimizer, run_key, average=decay is not None)
    if isinstance(data.train, Clips):
        advance, state = resident(train_step, data.train.arrays, order, state, mesh, compilation=config.compile)
    else:
        batches = lambda start: data.train.batches(order, start, stop)
        advance, state = streaming(train_step, batches, state, mesh, compilation=config.compile)
    evaluator = Evaluator(model, preprocessing, mesh)
    return Experiment(data, model, preprocessing, evaluator, order, schedule, advance, state)


def describe(config: Config, data: VideoSet) -> dict[str, Any]:
    """What reading the model back needs beside the weights, as `model.json` has it.

    Raises:
        ValueError, RunError: see `expected_images`.
    """
    backbone, channels = config.backbone, data.train.shape[-1]
    preprocessing = expected_images(backbone, channels, config.image_size, data.train.statistics)
    seeing = {"model": backbone.model, "in_channels": channels, "frozen": backbone.frozen, "dtype": config.precision}
    fields = {name: getattr(config, name) for name in ("hidden", "num_layers", "dropout")}
    return {
        "model": {**seeing, **fields, "num_classes": len(data.classes), "head_kind": config.head},
        "preprocessing": dataclasses.asdict(preprocessing),
        "classes": data.classes,
        "num_frames": data.train.shape[0],
    }


def create_video_classifier(fields: dict[str, Any]) -> VideoClassifier:
    """Makes a classifier of videos of the fields that `model.json` has."""
    own = {name: value for name, value in fields.items() if name not in ("model", "in_channels", "dtype")}
    return VideoClassifier(create_classifier(fields).backbone, **own, dtype=jnp.dtype(fields["dtype"]))


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to.
        CheckpointError, NonFiniteLossError, BadImagesError: see `fit` and `VideoFiles`.
    """
    data = experiment.data
    if isinstance(data.train, VideoFiles):
        data.train.bad.list_in(config.directory / "bad_images.txt")
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.order.steps_per_epoch,
        evaluate=lambda state: experiment.evaluator(state.variables, data.val)[0],
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.head,
        about="videos: " + ", ".join(f"{name} {len(getattr(data, name)):,}" for name in SPLITS) + "; ",
        unit="videos",
    )
    return conclude(config, experiment, state.variables, best)


def conclude(config: Config, experiment: Experiment, variables: Any, step: int) -> dict[str, Any]:
    """Scores the best state on the test split, and writes weights, report, and the result last."""
    directory, data = config.directory, experiment.data
    found, told, labels = experiment.evaluator(variables, data.test)
    result = {"step": step, **{f"test_{name}": value for name, value in found.items()}}
    jv.save_weights(experiment.model, variables, directory / "weights.safetensors", overwrite=True)
    write_json(directory / "model.json", describe(config, data))
    records = read_metrics(directory / "metrics.jsonl")
    counts = np.zeros((len(data.classes),) * 2, int)
    np.add.at(counts, (labels, told), 1)
    report.write_report(
        directory,
        title=f"{config.backbone.model}, {config.head}: {config.data}",
        summary={
            "test accuracy": f"{result['test_accuracy']:.2%}",
            "best step": describe_best(records, CRITERION, step, config.epochs * experiment.order.steps_per_epoch),
        },
        config=to_json(config),
        records=records,
        figures={
            "Learning curves": figures.learning_curves(records),
            "What was taken for what": figures.confusion_matrix(counts, data.classes),
            "What is told after each frame": draw(experiment, variables),
        },
    )
    write_json(directory / "result.json", result)
    return result


def draw(experiment: Experiment, variables: Any) -> Figure:
    """Draws the first videos of the test split with what is told after each frame."""
    test = experiment.data.test
    batch = next(test.batches(lambda _: np.arange(min(SHOWN, len(test))), 0, 1))
    told = experiment.evaluator.over_time(variables, batch)
    rows = zip(batch["frames"], batch["length"], batch["label"], told, strict=True)
    examples = [(frames[:length], label, shares[:length]) for frames, length, label, shares in rows]
    return video_figures.told_over_time(examples, experiment.data.classes)


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    result = run_training(read_options(Config, "video"), build, train, exit_on)
    print(f"test accuracy {result['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
