"""Trains an image classifier: `python -m train.classification --help`.

Shapes: B batch, N images, H height, W width, C channels, K classes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import ScopeParamShapeError
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.augment import cutmix, mixup, random_affine, random_crop, random_erasing, recipe
from train import transfer
from train.classifier_figures import agreement, draw_groups, draw_teacher, group_changes
from train.data import load_images
from train.data.image_files import FileSplit, ReadingConfig
from train.data.images import ImageSet, Preprocessing, Split, center_crop
from train.shared import figures, report
from train.shared.config import TrainingConfig
from train.shared.evaluator import Evaluator
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.first_layer import first_convolution
from train.shared.losses import DistillationConfig, LossConfig, distillation, make_loss
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh
from train.shared.metrics import Criterion, Record, describe_best, read_metrics
from train.shared.optimizer import group_factors, make_optimizer, make_schedule
from train.shared.run import exit_on, to_json, write_json
from train.shared.state import TrainState, create_state, ema
from train.shared.step import make_train_step
from train.shared.training import read_options, run_training, train_to_best
from train.shared.views import Views
from train.trained import TrainedClassifier, read_teacher
from train.transfer import TransferConfig

CRITERION = Criterion("val/accuracy")


@dataclasses.dataclass(frozen=True)
class Config(TrainingConfig):
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
    train_size: int | None = None
    """Height and width of the images in training, where another than the image size is better
    (https://arxiv.org/abs/1906.06423)."""
    epochs: int = 100
    evaluate_every: int = 5
    augment: Literal[
        "affine", "crop-flip", "alexnet", "imagenet", "autoaugment", "randaugment", "trivialaugment", "none"
    ] = "affine"
    """Change of the training images: affine, crop-flip (as for CIFAR), imagenet, that with a policy, or none."""
    random_erase: float = 0.0
    """Share of the training images of which a box is erased."""
    mixup: float = 0.0
    """Images are mixed in pairs, with shares from Beta(x, x); 0 for not."""
    cutmix: float = 0.0
    """Boxes are pasted from one image into another, of areas from Beta(x, x); 0 for not."""
    norm_momentum: float | None = None
    """Share of BatchNorm's running statistics kept at each step; by default as the model has it."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Options of reading a folder."""
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    """Options of what training starts from."""
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    """Options of the loss."""
    distillation: DistillationConfig = dataclasses.field(default_factory=DistillationConfig)
    """Options of learning from another model."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        super().__post_init__()
        self.check_least(0, "mixup", "cutmix")
        if self.resize is not None and self.resize < self.image_size:
            raise ValueError(f"--resize {self.resize} is smaller than --image-size {self.image_size}")
        if self.train_size is not None and not 1 <= self.train_size <= self.decoded_size:
            raise ValueError(f"--train-size must be from 1 to --resize {self.decoded_size}, got {self.train_size}")
        if not 0 <= self.random_erase <= 1:
            raise ValueError(f"--random-erase must be from 0 to 1, got {self.random_erase}")
        if self.norm_momentum is not None:
            self.check_rates("norm_momentum")

    @property
    def decoded_size(self) -> int:
        """Height and width of the images of the data set."""
        return self.resize or self.image_size

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        return f"{self.model}-{self.data}-{self.seed}"


def make_loss_fn(
    model: nn.Module, preprocessing: Preprocessing, config: Config, teacher: TrainedClassifier | None = None
) -> Callable:
    """Returns the loss of a batch `{"image": uint8 [B, H, W, C], "label": int [B]}` (see `make_train_step`)."""

    loss_of = make_loss(config.loss)

    def loss_fn(params, model_state, batch, rng, step):
        del step
        augment_key, dropout_key, crop_key, mix_key, erase_key = jax.random.split(rng, 5)
        images, labels = batch["image"].astype(jnp.float32) / 255, batch["label"]
        images = augmented((augment_key, crop_key), images, config)
        if config.random_erase:  # by what is 0 once normalised, as torchvision does
            mean = jnp.array(preprocessing.mean)
            images = random_erasing(erase_key, images, probability=config.random_erase, value=mean)
        images, labels = mixed(mix_key, images, jax.nn.one_hot(labels, model.num_classes), config)
        logits, model_state = model.apply(
            {"params": params, **model_state},
            preprocessing.normalize(images),
            train=True,
            mutable=[*model_state, "auxiliary", "heads"],
            rngs={"dropout": dropout_key},
        )
        auxiliary = jax.tree.leaves(model_state.pop("auxiliary", {}))
        heads = jax.tree.leaves(model_state.pop("heads", {}))  # [B, 2, K] of a network with a distillation token
        of_labels, of_teacher = heads[0].swapaxes(0, 1) if heads and teacher is not None else (logits, logits)
        losses = [loss_of(output, labels) for output in (of_labels, *auxiliary)]
        loss = losses[0] + model.auxiliary_weight * sum(losses[1:])
        if teacher is not None:
            told = distillation(of_teacher, teacher.logits(images), config.distillation.temperature)
            loss = loss + config.distillation.teacher_share * (told - loss)
        correct = logits.argmax(-1) == batch["label"]
        count = jnp.float32(len(loss))
        return (loss.sum(), count), (model_state, {"accuracy": correct.sum(dtype=jnp.float32)})

    return loss_fn


def augmented(keys: tuple[jax.Array, jax.Array], images: jax.Array, config: Config) -> jax.Array:
    """Changes images [B, H, W, C] as `--augment` says, and cuts them to what the model sees in training."""
    size = config.train_size or config.image_size
    if config.augment == "affine":
        images = random_affine(keys[0], images, degrees=15, translate=0.08, scale=(0.85, 1.15))
        return random_crop(keys[1], images, size=size)
    if config.augment == "none":
        return center_crop(images, size)
    return recipe(config.augment, size)(keys[0], images)


def mixed(key: jax.Array, images: jax.Array, labels: jax.Array, config: Config) -> tuple[jax.Array, jax.Array]:
    """Mixes images and their labels [B, K] as `--mixup` and `--cutmix` say: each half of the batches where both do."""
    mixings = [partial(f, alpha=alpha) for f, alpha in ((mixup, config.mixup), (cutmix, config.cutmix)) if alpha]
    if not mixings:
        return images, labels
    choice_key, key = jax.random.split(key)
    return jax.lax.switch(jax.random.randint(choice_key, (), 0, len(mixings)), mixings, key, images, labels)


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
    teacher: TrainedClassifier | None
    start: Any
    """The parameters before the first step, where groups of them have rates of their own."""

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
    teacher = read_teacher(config.distillation.teacher, data, config.image_size)
    return Task(mesh, data, model, preprocessing, evaluator, teacher)


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
    start = jax.device_get(variables["params"]) if config.optimizer.group_rates else None
    return Experiment(data, model, preprocessing, task.evaluator, order, schedule, advance, state, task.teacher, start)


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
        variables = jax.eval_shape(lambda images: model.init(jax.random.key(0), images, train=False), images)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--model {config.model} cannot take --data {config.data}: {error}") from error
    if config.train_size is not None:
        _check_train_size(config, model, variables, shape[-1])
    return model


def _check_train_size(config: Config, model: nn.Module, variables: Any, channels: int) -> None:
    images = jax.ShapeDtypeStruct((1, config.train_size, config.train_size, channels), jnp.float32)
    try:
        jax.eval_shape(lambda variables, images: model.apply(variables, images, train=False), variables, images)
    except (ValueError, TypeError, ScopeParamShapeError) as error:
        message = f"--model {config.model} of --image-size {config.image_size} cannot take --train-size"
        raise ValueError(f"{message} {config.train_size}: {error}") from error


def train(config: Config, experiment: Experiment) -> dict[str, Any]:
    """Trains, or goes on training, and reports.

    Returns:
        The scores of the best checkpoint, as in `result.json`.

    Raises:
        RunError: see `train_to_best`.
    """
    if isinstance(data := experiment.data.train, FileSplit):
        data.bad.list_in(config.directory / "bad_images.txt")
    best, state = train_to_best(
        config,
        experiment.state,
        experiment.advance,
        steps_per_epoch=experiment.steps_per_epoch,
        evaluate=lambda state: experiment.evaluator(state.variables, experiment.data.val)[0],
        schedule=experiment.schedule,
        criterion=CRITERION,
        label=config.model,
    )
    records = read_metrics(config.directory / "metrics.jsonl")
    kept = describe_best(records, CRITERION, best, config.epochs * experiment.steps_per_epoch)
    return conclude(config, experiment, state.variables, best, {"best step": kept})


def conclude(
    config: Config,
    experiment: Experiment,
    variables: Any,
    step: int,
    about: dict[str, str],
    pictures: Mapping[str, Figure] | None = None,
) -> dict[str, Any]:
    """Scores the best state on the test split, and writes its weights, the report, and the result last.

    Args:
        config, experiment: of the run.
        variables: of the best state.
        step: at which it was.
        about: what the report says beside the scores.
        pictures: of what was done in place of training, by caption; None where there are learning curves.

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
    if pictures is None:
        pictures = {"Learning curves": figures.learning_curves(records, step / experiment.steps_per_epoch)}
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
        figures={
            **pictures,
            **draw_options(config, experiment, variables, records, probabilities, labels),
            **draw(experiment, variables, probabilities, labels),
        },
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


def draw_options(
    config: Config,
    experiment: Experiment,
    variables: Any,
    records: Sequence[Record],
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Figure]:  # [N, K], [N]
    """Draws what rates of groups and a teacher come to, where they are asked for."""
    drawn, teacher = {}, experiment.teacher
    if factors := group_factors(config.optimizer):
        changes = group_changes(experiment.start, variables["params"], factors)
        drawn["Groups of parameters"] = draw_groups(records, factors, changes)
    if teacher is not None:
        mesh = make_mesh(config.devices, config.fsdp)
        evaluator = Evaluator(teacher.model, teacher.preprocessing, experiment.evaluator.batch_size, mesh)
        taught, told = (evaluator(teacher.variables, split) for split in (experiment.data.val, experiment.data.test))
        shares = agreement(probabilities.argmax(-1), told[1].argmax(-1), labels)
        drawn["Student and teacher"] = draw_teacher(records, taught[0]["accuracy"], shares)
    return drawn


def draw(
    experiment: Experiment, variables: Any, probabilities: np.ndarray, labels: np.ndarray
) -> dict[str, Figure]:  # [N, K], [N]
    """Draws what a classifier gets wrong, what its first layer sees, and the splits of its data."""
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
    return drawn | {"The splits of the data": figures.class_shares(experiment.data.counts(), classes)}


def run(config: Config) -> dict[str, Any]:
    """Trains as a config says, or goes on with its run (see `run_training`)."""
    return run_training(config, build, train)


def main() -> None:
    """Trains as the command line says."""
    result = run_training(read_options(Config, "classification"), build, train, exit_on)
    print(f"test accuracy {result['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
