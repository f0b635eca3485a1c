"""Trains an image classifier: `python -m train.classification --help`.

Shapes: B batch, N images, H height, W width, C channels, K classes.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.augment import cutmix, mixup, random_affine, random_crop, recipe
from train import transfer
from train.data import load_images
from train.data.image_files import BadImagesError, FileSplit, ReadingConfig
from train.data.images import ImageSet, LabelledImages, Preprocessing, Split, center_crop
from train.shared import figures, report
from train.shared.checkpoint import CheckpointError, Checkpoints
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.first_layer import first_convolution
from train.shared.loop import NonFiniteLossError, fit
from train.shared.losses import DistillationConfig, LossConfig, cross_entropy, distillation, make_loss
from train.shared.machine import machine
from train.shared.mesh import PMAP_AXIS, Compilation, batch_sharding, check_batch_size, make_mesh
from train.shared.metrics import MetricsLog, read_metrics, records_since_best
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.plateau import plateaus, set_scale
from train.shared.progress import progress
from train.shared.run import RunError, check_run, exit_on, start_run, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step, means
from train.shared.views import Views, over_views
from train.trained import TrainedClassifier, read_trained
from train.transfer import TransferConfig

RUN_ERRORS = (RunError, CheckpointError, NonFiniteLossError, BadImagesError, OSError)
"""What can end a run and says what to do."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train an image classifier. The defaults train LeNet-5 on handwritten digits."""

    model: str = "lenet5"
    """Name of the model: `python -m jaxvision list` shows them all."""
    data: str = "digits"
    """Data set: digits (needs no files), mnist, fashion_mnist, cifar10, cifar100, or folder (see the README)."""
    data_dir: Path | None = None
    """Directory of the files of the data set."""
    split: tuple[float, ...] | None = None
    """Shares of train, val and test (or of train and the rest) that all images are cut into anew, with the classes in
    the same shares; by default the splits of the data set."""
    image_size: int = 32
    """Height and width of the images that the model sees."""
    resize: int | None = None
    """Shorter side after resizing; a square of the image size is cut out of it. By default the image size."""
    epochs: int = 100
    """Passes over the training set."""
    batch_size: int = 32
    """Images per step, over all devices."""
    augment: Literal["affine", "crop-flip", "alexnet", "imagenet", "randaugment", "trivialaugment", "none"] = "affine"
    """Change of the training images: affine, crop-flip (as for CIFAR), imagenet, that with a policy, or none."""
    mixup: float = 0.0
    """Images are mixed in pairs, with shares from Beta(x, x); 0 for not."""
    cutmix: float = 0.0
    """Boxes are pasted from one image into another, of areas from Beta(x, x); 0 for not."""
    norm_momentum: float | None = None
    """Share of BatchNorm's running statistics kept at each step; by default as the model has it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and reductions are float32."""
    seed: int = 0
    """Of initial parameters, data order and augmentation."""
    evaluate_every: int = 5
    """Epochs between evaluations on the validation split, each followed by a checkpoint."""
    patience: int | None = None
    """Evaluations in a row without a new best validation accuracy after which the run ends; None for never."""
    max_nonfinite: int = 10
    """Steps in a row with a loss that is not finite before the run stops; each such step is skipped."""
    devices: int | None = None
    """Devices to use; None for all."""
    fsdp: int = 1
    """Devices over which each copy of the parameters is cut up."""
    compile: Compilation = "jit"
    """How steps are compiled: jit, or pmap, pure data parallelism with a copy of the program for each device."""
    run_dir: Path | None = None
    """Directory of the run; by default runs/<model>-<data>-<seed>. An unfinished run in it is gone on with."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Options of reading a folder."""
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    """Options of what training starts from."""
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    """Options of the loss."""
    distillation: DistillationConfig = dataclasses.field(default_factory=DistillationConfig)
    """Options of learning from another model."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name in ("epochs", "evaluate_every", "max_nonfinite"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"--seed must be 0 or more, got {self.seed}")
        if self.resize is not None and self.resize < self.image_size:
            raise ValueError(f"--resize {self.resize} is smaller than --image-size {self.image_size}")
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must be 0 or more, got {getattr(self, name)}")
        if self.norm_momentum is not None and not 0 <= self.norm_momentum < 1:
            raise ValueError(f"--norm-momentum must be from 0 to below 1, got {self.norm_momentum}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"--patience must be 1 or more, got {self.patience}")

    @property
    def decoded_size(self) -> int:
        """Height and width of the images of the data set."""
        return self.resize or self.image_size

    @property
    def directory(self) -> Path:
        """The directory of the run."""
        return self.run_dir or Path("runs", f"{self.model}-{self.data}-{self.seed}")


def make_loss_fn(
    model: nn.Module, preprocessing: Preprocessing, config: Config, teacher: TrainedClassifier | None = None
) -> Callable:
    """Returns the loss of a batch `{"image": uint8 [B, H, W, C], "label": int [B]}` (see `make_train_step`)."""

    loss_of = make_loss(config.loss)

    def loss_fn(params, model_state, batch, rng, step):
        del step
        augment_key, dropout_key, crop_key, mix_key = jax.random.split(rng, 4)
        images, labels = batch["image"].astype(jnp.float32) / 255, batch["label"]
        if config.augment == "affine":
            images = random_affine(augment_key, images, degrees=15, translate=0.08, scale=(0.85, 1.15))
            images = random_crop(crop_key, images, size=config.image_size)
        elif config.augment == "none":
            images = center_crop(images, config.image_size)
        else:
            images = recipe(config.augment, config.image_size)(augment_key, images)
        images, labels = mixed(mix_key, images, jax.nn.one_hot(labels, model.num_classes), config)
        logits, model_state = model.apply(
            {"params": params, **model_state},
            preprocessing.normalize(images),
            train=True,
            mutable=[*model_state, "auxiliary"],
            rngs={"dropout": dropout_key},
        )
        auxiliary = jax.tree.leaves(model_state.pop("auxiliary", {}))
        losses = [loss_of(output, labels) for output in (logits, *auxiliary)]
        loss = losses[0] + model.auxiliary_weight * sum(losses[1:])
        if teacher is not None:
            told = distillation(logits, teacher.logits(images), config.distillation.temperature)
            loss = loss + config.distillation.teacher_share * (told - loss)
        correct = logits.argmax(-1) == batch["label"]
        count = jnp.float32(len(loss))
        return (loss.sum(), count), (model_state, {"accuracy": correct.sum(dtype=jnp.float32)})

    return loss_fn


def mixed(key: jax.Array, images: jax.Array, labels: jax.Array, config: Config) -> tuple[jax.Array, jax.Array]:
    """Mixes images and their labels [B, K] as `--mixup` and `--cutmix` say: each half of the batches where both do."""
    mixings = [partial(f, alpha=alpha) for f, alpha in ((mixup, config.mixup), (cutmix, config.cutmix)) if alpha]
    if not mixings:
        return images, labels
    choice_key, key = jax.random.split(key)
    return jax.lax.switch(jax.random.randint(choice_key, (), 0, len(mixings)), mixings, key, images, labels)


class Evaluator:
    """Metrics and probabilities over whole splits, the same whatever the batch size and the devices.

    With `views` the probabilities of an image are the mean of those of its views (see `train.shared.views`).
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        batch_size: int,
        mesh: jax.sharding.Mesh,
        views: Views | None = None,
    ):
        self.batch_size, self._sharding = batch_size, batch_sharding(mesh)
        predict = lambda variables, images: model.apply(variables, preprocessing(images), train=False)
        predict = over_views(predict, views) if views else predict

        def evaluate(variables, images, labels, weights):
            logits = predict(variables, images).astype(jnp.float32)
            probabilities = jax.nn.softmax(logits)
            # Not of bfloat16 logits: XLA may leave their rounding out for one use of them and not for another.
            correct = probabilities.argmax(-1) == labels
            sums = {"loss": (cross_entropy(logits, labels) * weights).sum(), "accuracy": (correct * weights).sum()}
            return sums | {"count": weights.sum()}, probabilities

        self._evaluate = jax.jit(evaluate)

    def __call__(self, variables: Any, split: LabelledImages) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Returns the mean loss and accuracy over a split, the probabilities [N, K] of its images and their labels."""
        size, totals, probabilities, seen = self.batch_size, {}, [], []
        order = lambda step: np.arange(step * size, min((step + 1) * size, len(split)))
        for batch in split.batches(order, 0, -(-len(split) // size)):
            images, labels = batch["image"], batch["label"]
            missing = size - len(labels)
            weights = np.pad(np.ones(len(labels), np.float32), (0, missing))
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
            arrays = jax.device_put((images, np.pad(labels, (0, missing)), weights), self._sharding)
            sums, batch_probabilities = jax.device_get(self._evaluate(variables, *arrays))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
            probabilities.append(batch_probabilities[: len(labels)])
            seen.append(labels)
        return means(totals), np.concatenate(probabilities), np.concatenate(seen)


@dataclasses.dataclass
class Task:
    """What there is to learn, and with what model, before anything of training."""

    mesh: jax.sharding.Mesh
    data: ImageSet
    model: nn.Module
    preprocessing: Preprocessing
    evaluator: Evaluator
    teacher: TrainedClassifier | None


@dataclasses.dataclass
class Experiment:
    """What a config stands for: data, model, step and state, laid out on devices, nothing run yet."""

    data: ImageSet
    model: nn.Module
    preprocessing: Preprocessing
    evaluator: Evaluator
    order: ShuffledOrder
    schedule: optax.Schedule
    advance: Callable
    state: TrainState

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the training set."""
        return self.order.steps_per_epoch


def prepare(config: Config, views: Views | None = None) -> Task:
    """Loads the data and makes the model; `views` are those of the evaluator.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    data = load_images(config.data, config.data_dir, config.decoded_size, config.reading, config.split)
    own_statistics = lambda: tuple(tuple(map(float, value)) for value in data.statistics())
    mean, std = transfer.statistics(config.transfer, config.model) or own_statistics()
    if len(mean) != data.shape[-1]:
        raise ValueError(
            f"--weights {config.transfer.weights} are for images of {len(mean)} channels, --data {config.data} has "
            f"{data.shape[-1]}"
        )
    preprocessing = Preprocessing(mean, std, config.image_size)
    model = create_model(config, len(data.classes), (config.image_size, config.image_size, data.shape[-1]))
    evaluator = Evaluator(model, preprocessing, -(-256 // mesh.size) * mesh.size, mesh, views)
    return Task(mesh, data, model, preprocessing, evaluator, read_teacher(config, data))


def build(config: Config, schedule: optax.Schedule | None = None, views: Views | None = None) -> Experiment:
    """Makes what a config asks for.

    Args:
        config: the options.
        schedule: the learning rate by step, in place of the config's.
        views: those of the evaluator.

    Raises:
        ValueError: an option that cannot be; the message names it.
    """
    task = prepare(config, views)
    mesh, data, model, preprocessing = task.mesh, task.data, task.model, task.preprocessing
    order = ShuffledOrder(len(data.train), config.batch_size, config.seed)
    schedule = schedule or make_schedule(config.optimizer, config.epochs * order.steps_per_epoch)
    optimizer = make_optimizer(config.optimizer, schedule)
    decay = config.optimizer.ema
    train_step = make_train_step(
        make_loss_fn(model, preprocessing, config, task.teacher),
        optimizer,
        accumulate=config.optimizer.accumulate,
        after_update=ema(decay) if decay else None,
        max_nonfinite=config.max_nonfinite,
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    variables = transfer.initial_variables(config.transfer, config.model, model, init_key)
    state = create_state(variables, optimizer, run_key, average=decay is not None)
    if isinstance(data.train, Split):
        arrays = {"image": data.train.images, "label": data.train.labels}
        advance, state = resident(train_step, arrays, order, state, mesh, compilation=config.compile)
    else:
        batches = lambda start: data.train.batches(order, start, config.epochs * order.steps_per_epoch)
        advance, state = streaming(train_step, batches, state, mesh, compilation=config.compile)
    return Experiment(data, model, preprocessing, task.evaluator, order, schedule, advance, state)


def read_teacher(config: Config, data: ImageSet) -> TrainedClassifier | None:
    """Reads the teacher, if there is one, and checks that it knows the data.

    Raises:
        RunError: its run is not complete, or a file of it is damaged.
        ValueError: it was trained on other classes or channels.
    """
    if (directory := config.distillation.teacher) is None:
        return None
    teacher = read_trained(directory)
    for name, there, here in [
        ("classes", tuple(teacher.classes), tuple(data.classes)),
        ("channels", teacher.channels, data.shape[-1]),
        ("image size", teacher.preprocessing.image_size, config.image_size),
    ]:
        if there != here:
            raise ValueError(f"--teacher {directory} was trained with other {name}: {there}, the data has {here}")
    return teacher


def create_model(config: Config, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Creates the model for images of a shape, and checks that it takes them.

    Raises:
        ValueError: there is no such model, or it cannot take the images, or not the momentum.
    """
    fields = {"num_classes": num_classes, "in_channels": shape[-1], "dtype": jnp.dtype(config.precision)}
    if config.norm_momentum is not None:
        fields["momentum"] = config.norm_momentum
    try:
        model = jv.create_model(config.model, **fields)
    except TypeError as error:
        raise ValueError(f"--model {config.model} cannot take --norm-momentum: {error}") from error
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        jax.eval_shape(lambda images: model.init(jax.random.key(0), images, train=False), images)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--model {config.model} cannot take --data {config.data}: {error}") from error
    return model


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: the directory of the run cannot be written to.
        CheckpointError, NonFiniteLossError: see `fit`.
    """
    directory, steps = config.directory, config.epochs * experiment.order.steps_per_epoch
    evaluations_since_best = lambda: records_since_best(read_metrics(directory / "metrics.jsonl"), "val/accuracy")
    scale = partial(rate_scale, config)
    on_plateaus = config.optimizer.schedule == "plateau"
    begun = time.perf_counter()
    checkpoints = Checkpoints(directory / "checkpoints", best="val/accuracy")
    start, state = checkpoints.restore_latest(experiment.state) or (0, experiment.state)
    if isinstance(experiment.data.train, FileSplit):
        experiment.data.train.bad.list_in(directory / "bad_images.txt")
    print(f"{directory}: " + (f"going on after step {start} of {steps}" if start else f"{steps} steps"))
    with MetricsLog(directory, start or None) as log, progress(steps, config.model, start=start) as bar:
        state = fit(
            state,
            experiment.advance,
            total_steps=steps,
            steps_per_epoch=experiment.order.steps_per_epoch,
            log_every=min(experiment.order.steps_per_epoch, 100),
            evaluate_every=config.evaluate_every * experiment.order.steps_per_epoch,
            evaluate=lambda state: experiment.evaluator(state.variables, experiment.data.val)[0],
            schedule=lambda step: scale() * experiment.schedule(step),
            checkpoints=checkpoints,
            log=log,
            progress=bar,
            max_nonfinite=config.max_nonfinite,
            is_stalled=lambda: config.patience is not None and evaluations_since_best() >= config.patience,
            after_evaluation=lambda state: set_scale(state, scale()) if on_plateaus else state,
        )
    if int(state.step) < steps:
        print(f"stopped early, after step {int(state.step)}: --patience {config.patience}")
    best, state = checkpoints.restore_best(state)
    checkpoints.close()
    write_json(directory / "machine.json", {**machine(), "from_step": start, "seconds": time.perf_counter() - begun})
    return conclude(config, experiment, state.variables, best, {"best step": f"{best:,} of {steps:,}"})


def rate_scale(config: Config) -> float:
    """Returns what the learning rate is multiplied by after the plateaus in the log of the run."""
    if config.optimizer.schedule != "plateau":
        return 1.0
    records = read_metrics(config.directory / "metrics.jsonl")
    accuracies = [record["val/accuracy"] for record in records if "val/accuracy" in record]
    return config.optimizer.step_factor ** plateaus(accuracies, config.optimizer.plateau)


def conclude(
    config: Config, experiment: Experiment, variables: Any, step: int, about: dict[str, str]
) -> dict[str, Any]:
    """Scores the best state on the test split, and writes its weights, the report, and the result last.

    Args:
        config, experiment: of the run.
        variables: of the best state.
        step: at which it was.
        about: what the report says beside the scores.

    Returns:
        The scores, as in `result.json`.
    """
    directory, data = config.directory, experiment.data
    scores, _, _ = experiment.evaluator(variables, data.val)
    test_scores, probabilities, labels = experiment.evaluator(variables, data.test)
    result = {
        "step": step,
        **{f"val_{k}": v for k, v in scores.items()},
        **{f"test_{k}": v for k, v in test_scores.items()},
    }
    jv.save_weights(experiment.model, variables, directory / "weights.safetensors", overwrite=True)
    write_json(directory / "model.json", describe(config, experiment))
    records = read_metrics(directory / "metrics.jsonl")
    report.write_report(
        directory,
        title=f"{config.model} on {config.data}",
        summary={
            "test accuracy": f"{test_scores['accuracy']:.2%}",
            "validation accuracy": f"{scores['accuracy']:.2%}",
            **about,
        },
        config=to_json(config),
        records=records,
        figures={"Learning curves": figures.learning_curves(records)}
        | draw(experiment, variables, probabilities, labels),
    )
    write_json(directory / "result.json", result)
    return result


def describe(config: Config, experiment: Experiment | Task) -> dict[str, Any]:
    """What `train.predict` needs beside the weights."""
    return {
        "model": config.model,
        "in_channels": experiment.data.shape[-1],
        "resize": config.decoded_size,
        "precision": config.precision,
        "classes": experiment.data.classes,
        **dataclasses.asdict(experiment.preprocessing),
    }


def draw(
    experiment: Experiment, variables: Any, probabilities: np.ndarray, labels: np.ndarray
) -> dict[str, Figure]:  # [N, K], [N]
    """Draws what a classifier gets wrong, and what its first layer sees."""
    test, classes = experiment.data.test, experiment.data.classes
    predictions, confidences = probabilities.argmax(-1), probabilities.max(-1)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predictions), 1)
    drawn = {"Confusion matrix of the test split": figures.confusion_matrix(counts, classes)}
    pick = lambda indices: next(test.batches(lambda _: indices, 0, 1))["image"]
    wrong = np.flatnonzero(predictions != labels)
    surest = wrong[np.argsort(-confidences[wrong], kind="stable")][: figures.MOST_IMAGES]  # no others are decoded again
    drawn["The wrong answers it is surest of"] = figures.wrong_images(
        pick(surest), labels[surest], predictions[surest], confidences[surest], classes
    )
    if first := first_convolution(experiment.model, variables, experiment.preprocessing(pick([0]))):
        kernel, maps = first
        drawn["Filters of the first layer"] = figures.filters(kernel)
        drawn[f"Its feature maps on an image of class {classes[labels[0]]}"] = figures.feature_maps(maps)
    return drawn


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run; of a complete run it returns the result (see `train`).

    Raises:
        ValueError: an option that cannot be.
        RunError, CheckpointError, NonFiniteLossError: see `train`.
    """
    if result := check_run(config.directory, config):
        return result
    experiment = build(config)
    with start_run(config.directory, config):
        return train(config, experiment)


def main() -> None:
    """Trains as the command line says."""
    config = tyro.cli(
        Config, prog="python -m train.classification", config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
    with exit_on(RunError, ValueError, OSError):
        result = check_run(config.directory, config)
        experiment = None if result else build(config)
    if experiment:
        with exit_on(*RUN_ERRORS), start_run(config.directory, config):
            result = train(config, experiment)
    else:
        print(f"{config.directory} is complete: give another --run-dir, or another --seed, to train anew")
    print(f"test accuracy {result['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
