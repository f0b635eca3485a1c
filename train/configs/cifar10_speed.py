"""CIFAR-10 as fast as it is known to go: airbench94 by its own recipe, data and augmentation on the devices.

    python -m train.configs.cifar10_speed --data-dir cifar10                                    for a GPU: not run yet
    python -m train.configs.cifar10_speed --data-dir cifar10 --epochs 1 --widths 64 128 128     for a CPU

After https://github.com/KellerJordan/cifar10-airbench (`legacy/airbench94.py`): the first layer whitens patches and is
not trained (its bias is, for three epochs), images are mirrored all at once every other epoch and shifted by up to two
pixels, SGD with Nesterov's momentum moves the biases of the normalisations 64 times as fast, the weights are pulled
back to a moving average every five steps, and six views of each test image are averaged. Departures: the shift is drawn
for each batch in place of each epoch, and in float32 on a CPU. Scores and times, beside the reference's own, are in
`benchmarks/results/airbench_*.json` (see `benchmarks/airbench.py`).

Every image but those of the test set is trained on; nothing is chosen by a score. The time is that of the training
steps, compilation left out, as the original counts it. Shapes: B batch, N images, H height, W width, C channels,
K classes.
"""

import dataclasses
import math
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

import jaxvision as jv
from jaxvision.augment import horizontal_flip, random_crop
from jaxvision.cnn.airbench import whitening_kernel
from train.data import load_images
from train.data.images import ImageSet, Split
from train.shared.feed import ShuffledOrder, resident, usual_steps_per_dispatch
from train.shared.losses import cross_entropy
from train.shared.mesh import PMAP_AXIS, Compilation, check_batch_size, make_mesh
from train.shared.progress import progress
from train.shared.run import exit_on
from train.shared.state import TrainState, create_state
from train.shared.step import make_train_step, means

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the published training images
MOMENTUM = 0.85
LEARNING_RATE = 11.5  # for 1,024 images, as if there were no momentum
WEIGHT_DECAY = 0.0153  # for 1,024 images, whatever the learning rate
BIAS_FACTOR = 64  # of the learning rate of the biases of the normalisations
LABEL_SMOOTHING = 0.2
WHITENED_IMAGES = 5_000  # that the first layer is computed from
WHITEN_BIAS_EPOCHS = 3
SHIFT = 2  # pixels
PULL_EVERY = 5  # steps
EVALUATED_AT_ONCE = 500  # images


@dataclasses.dataclass(frozen=True)
class Config:
    """Train airbench94 on CIFAR-10."""

    data_dir: Path
    """Directory of the files of CIFAR-10, in any layout of `--data cifar10`."""
    epochs: float = 9.9
    """Passes over the training set; the last one need not be whole."""
    batch_size: int = 1024
    """Images per step, over all devices."""
    widths: tuple[int, int, int] = (64, 256, 256)
    """Channels of the three groups."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the computation, by default float32 on a CPU and bfloat16 elsewhere; parameters and reductions are float32."""
    seeds: int = 1
    """Runs, from seed 0 on."""
    devices: int | None = None
    """Devices to use; None for all."""
    compile: Compilation = "jit"
    """How steps are compiled: jit, or pmap, pure data parallelism with a copy of the program for each device."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name in ("epochs", "seeds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} must be above 0, got {getattr(self, name)}")


def normalize(images: jax.Array) -> jax.Array:  # uint8 [B, H, W, C]
    """Returns images with mean 0 and standard deviation 1."""
    return (images.astype(jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)


def make_loss_fn(model: nn.Module, steps_per_epoch: int) -> Callable:
    """Returns the loss of a batch `{"image": uint8 [B, H, W, C], "label": int [B], "mirrored": bool [B]}`."""

    def loss_fn(params, model_state, batch, rng, step):
        odd_epoch = step // steps_per_epoch % 2 == 1
        images = horizontal_flip(normalize(batch["image"]), batch["mirrored"] != odd_epoch)
        size = images.shape[1:3]
        images = jnp.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
        images = random_crop(rng, images, size=size)
        variables = {"params": params, **model_state}
        logits, model_state = model.apply(variables, images, train=True, mutable=list(model_state))
        labels = jax.nn.one_hot(batch["label"], model.num_classes)
        loss = cross_entropy(logits, labels, LABEL_SMOOTHING)
        correct = logits.argmax(-1) == batch["label"]
        return (loss.sum(), jnp.float32(len(loss))), (model_state, {"accuracy": correct.sum(dtype=jnp.float32)})

    return loss_fn


def learning_rate(step: jax.Array, total_steps: int) -> jax.Array:
    """The factor of the learning rate: up from 0.2 over the first 23 % of the run, then down to 0.07."""
    peak = int(0.23 * total_steps)
    return jnp.interp(step, jnp.array([0, peak, total_steps]), jnp.array([0.2, 1.0, 0.07]))


def make_optimizer(batch_size: int, total_steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """Returns SGD, with a learning rate for each kind of parameter, for the gradient of the mean loss."""
    scale = 1024 * (1 + 1 / (1 - MOMENTUM))  # of a step with momentum, against one without
    rate, decay = LEARNING_RATE / scale, WEIGHT_DECAY * batch_size / scale

    def sgd(rate: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale(batch_size),  # the original sums the loss
            optax.add_decayed_weights(decay / rate),
            optax.sgd(lambda step: rate * learning_rate(step, total_steps), MOMENTUM, nesterov=True),
        )

    first_epochs = lambda step: jnp.float32(step < WHITEN_BIAS_EPOCHS * steps_per_epoch)
    rules = {
        "fixed": optax.set_to_zero(),
        "whiten_bias": optax.chain(sgd(rate), optax.scale_by_schedule(first_epochs)),
        "norm_bias": sgd(BIAS_FACTOR * rate),
        "kernel": sgd(rate),
    }
    return optax.partition(rules, partial(jax.tree_util.tree_map_with_path, lambda path, _: kind(path)))


def kind(path: tuple[Any, ...]) -> str:
    """Returns which rule moves a parameter."""
    layer, leaf = path[-2].key, path[-1].key
    if "norm" in layer:
        return {"scale": "fixed", "bias": "norm_bias"}[leaf]
    if layer == "whiten":
        return {"kernel": "fixed", "bias": "whiten_bias"}[leaf]
    return "kernel"


def lookahead(total_steps: int) -> Callable[[TrainState], TrainState]:
    """Returns what follows each update: every few steps the weights become their moving average.

    Zhang, Lucas, Hinton and Ba, https://arxiv.org/abs/1907.08610, with an average that is slower and slower.
    """

    def after_update(state: TrainState) -> TrainState:
        steps = state.step + 1
        last, share = steps == total_steps, steps / jnp.array(total_steps, float)
        keep = jnp.where(last, 1.0, 0.95**PULL_EVERY * share**3)
        now = {"params": state.params, **state.model_state}
        pulled = jax.tree.map(lambda slow, fast: slow + (1 - keep) * (fast - slow), state.average, now)
        due = last | (steps % PULL_EVERY == 0)
        choose = lambda new, old: jax.tree.map(lambda a, b: jnp.where(due, a, b), new, old)
        now = choose(pulled, now)
        model_state = {name: now[name] for name in state.model_state}
        return state.replace(average=choose(pulled, state.average), params=now["params"], model_state=model_state)

    return after_update


def initial_variables(model: nn.Module, images: np.ndarray, seed: int) -> dict[str, Any]:
    """Draws the variables, and computes the first layer from training images uint8 [N, H, W, C]."""
    variables = jv.init(model, jax.random.key(seed))
    kernel = whitening_kernel(normalize(jnp.asarray(images[:WHITENED_IMAGES])))
    variables["params"]["backbone"]["whiten"]["kernel"] = kernel
    return variables


def six_views(images: jax.Array) -> list[tuple[float, jax.Array]]:  # [B, H, W, C]
    """Returns views of normalised images with their weights: mirrored or not, in place or a pixel along a diagonal."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [padded[:, i : i + height, i : i + width] for i in (0, 2)]
    return [
        (weight / 2, view[:, :, ::direction])
        for weight, view in [(1 / 2, images), *((1 / 4, view) for view in shifted)]
        for direction in (1, -1)
    ]


def make_evaluate(model: nn.Module) -> Callable[[Any, Split], dict[str, float]]:
    """Returns a function of variables and a split: the accuracy on single views, and on six of each image."""

    @jax.jit
    def count_correct(variables, images, labels):
        images = normalize(images)
        views = [(weight, model.apply(variables, view, train=False)) for weight, view in six_views(images)]
        averaged = sum(weight * logits.astype(jnp.float32) for weight, logits in views)
        return [(logits.argmax(-1) == labels).sum() for logits in (views[0][1], averaged)]

    def evaluate(variables: Any, split: Split) -> dict[str, float]:
        parts = range(0, len(split), EVALUATED_AT_ONCE)
        counts = [
            count_correct(variables, split.images[i : i + EVALUATED_AT_ONCE], split.labels[i : i + EVALUATED_AT_ONCE])
            for i in parts
        ]
        single, averaged = np.sum(jax.device_get(counts), axis=0) / len(split)
        return {"accuracy": float(single), "accuracy_of_six_views": float(averaged)}

    return evaluate


def train(config: Config, data: Split, test: Split, seed: int) -> dict[str, float]:
    """Trains once; returns the scores on the test images, and seconds and images/s of the training."""
    mesh = make_mesh(config.devices)
    check_batch_size(config.batch_size, mesh)
    precision = config.precision or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    model = jv.create_model("airbench94", widths=config.widths, dtype=jnp.dtype(precision))
    order = ShuffledOrder(len(data), config.batch_size, seed)
    total_steps = math.ceil(config.epochs * order.steps_per_epoch)
    optimizer = make_optimizer(config.batch_size, total_steps, order.steps_per_epoch)
    train_step = make_train_step(
        make_loss_fn(model, order.steps_per_epoch),
        optimizer,
        after_update=lookahead(total_steps),
        axis_name=PMAP_AXIS if config.compile == "pmap" else None,
    )
    mirrored = np.random.RandomState(seed).rand(len(data)) < 0.5
    arrays = {"image": data.images, "label": data.labels, "mirrored": mirrored}
    variables = initial_variables(model, data.images, seed)
    state = create_state(variables, optimizer, jax.random.key(seed), average=True)
    advance, state = resident(train_step, arrays, order, state, mesh, compilation=config.compile)
    many = usual_steps_per_dispatch()
    blocks = [(start, min(start + many, total_steps)) for start in range(0, total_steps, many)]
    for length in {stop - start for start, stop in blocks}:  # compiled before the clock starts
        advance(jax.tree.map(jnp.copy, state), 0, length)
    begun = time.perf_counter()
    with progress(total_steps, "airbench94") as bar:
        for start, stop in blocks:
            state, totals = advance(state, start, stop)
            metrics = {f"train/{name}": value for name, value in means(totals).items()}
            bar.update(stop, epoch=stop / order.steps_per_epoch, **metrics)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - begun
    speed = total_steps * config.batch_size / seconds
    return make_evaluate(model)(state.variables, test) | {"seconds": seconds, "images_per_second": speed}


def main() -> None:
    """Trains as the command line says."""
    config = tyro.cli(Config, prog="python -m train.configs.cifar10_speed", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(ValueError, OSError):
        data, test = splits(load_images("cifar10", config.data_dir, 32))
        for seed in range(config.seeds):
            report(train(config, data, test, seed))


def splits(data: ImageSet) -> tuple[Split, Split]:
    """Returns the images to train on, those of validation among them, and the test images."""
    parts = (data.train, data.val)
    return Split(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])), data.test


def report(result: dict[str, float]) -> None:
    """Prints the result of a run."""
    print(
        f"test accuracy {result['accuracy']:.2%}, of six views {result['accuracy_of_six_views']:.2%}, "
        f"{result['seconds']:,.1f} s, {result['images_per_second']:,.0f} images/s",
        flush=True,
    )


if __name__ == "__main__":
    main()
