"""What to check before training: `python -m train.sanity_checks --model resnet20`.

Three checks of Karpathy 2019, "A recipe for training neural networks", https://karpathy.github.io/2019/04/25/recipe/,
that find most broken models, data and losses in seconds: the loss before the first step, a single batch that must be
learnt by heart, and images without content, from which less can be learnt.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure

import jaxvision as jv
from train import classification
from train.shared import report
from train.shared.figures import BLUE, GREY, ORANGE, STYLE, WIDTH
from train.shared.losses import LossConfig, make_loss
from train.shared.optimizer import make_optimizer
from train.shared.run import RunError, check_run, exit_on, start_run, to_json, write_json
from train.shared.state import create_state
from train.shared.step import make_train_step, means


@dataclasses.dataclass(frozen=True)
class Options:
    """Check a model and its data before training: the options are those of train.classification, and these."""

    training: classification.Config = dataclasses.field(default_factory=classification.Config)
    """What is to be trained; the checks leave out its augmentation, label smoothing, schedule and weight decay, and the
    losses of auxiliary heads."""
    steps: int = 200
    """Steps in which the batch must be learnt."""
    initial_within: float = 0.3
    """Share by which the loss before the first step may differ from that of a guess, in which all classes are alike."""
    learnt_below: float = 0.05
    """Loss of a batch that has been learnt."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.steps < 1:
            raise ValueError(f"--steps must be 1 or more, got {self.steps}")
        for name in ("initial_within", "learnt_below"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {getattr(self, name)}")

    @property
    def directory(self) -> Path:
        """Where the report goes."""
        config = self.training
        return config.run_dir or Path("runs", f"sanity-checks-{config.model}-{config.data}-{config.seed}")


def plain(config: classification.Config) -> classification.Config:
    """Returns a config without what keeps a model from learning a batch by heart."""
    optimizer = dataclasses.replace(config.optimizer, schedule="constant", warmup=0.0, weight_decay=0.0, ema=None)
    return dataclasses.replace(
        config,
        augment="none",
        random_erase=0.0,
        mixup=0.0,
        cutmix=0.0,
        loss=dataclasses.replace(config.loss, label_smoothing=0.0),
        optimizer=optimizer,
    )


def learn(config: classification.Config, experiment: classification.Experiment, steps: int) -> dict[str, list[float]]:
    """Trains on one batch over and over, and on the same labels without content; returns the losses of both.

    They are those of the head alone: with the losses of auxiliary heads, a guess would have another.
    """
    model = experiment.model.clone(auxiliary_weight=0.0)
    batch = next(experiment.data.train.batches(experiment.order, 0, 1))
    batch = {name: jnp.asarray(batch[name]) for name in ("image", "label")}
    rate = lambda step: config.optimizer.learning_rate
    optimizer = make_optimizer(config.optimizer, rate)
    loss_fn = classification.make_loss_fn(model, experiment.preprocessing, config)
    step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    empty = batch | {"image": jnp.broadcast_to(batch["image"].mean((0, 1, 2)), batch["image"].shape).astype(jnp.uint8)}
    losses = {}
    for name, examples in (("batch", batch), ("without content", empty)):
        init_key, run_key = jax.random.split(jax.random.key(config.seed))
        state = create_state(jv.init(model, init_key), optimizer, run_key)
        losses[name] = []
        for _ in range(steps):
            state, totals = step(state, examples)
            losses[name].append(means(totals)["loss"])
    return losses


def guess(config: LossConfig, num_classes: int) -> float:
    """Returns the loss of an answer in which all classes have the same logit, zero."""
    return float(make_loss(config)(jnp.zeros((1, num_classes)), jnp.zeros(1, int))[0])


def judge(losses: dict[str, list[float]], num_classes: int, options: Options) -> dict[str, tuple[bool, str]]:
    """Returns, for each check, whether it passed and what was found."""
    initial, expected = losses["batch"][0], guess(plain(options.training).loss, num_classes)
    last, blind = (float(np.mean(values[-5:])) for values in losses.values())
    return {
        "the loss before the first step is that of a guess": (
            abs(initial - expected) <= options.initial_within * expected,
            f"{initial:.3f}; a guess among {num_classes} classes has {expected:.3f}",
        ),
        "one batch is learnt by heart": (
            last < options.learnt_below,
            f"loss {last:.2g} after {len(losses['batch'])} steps; below {options.learnt_below} is expected",
        ),
        "without content less is learnt": (
            last < 0.9 * blind,
            f"loss {blind:.2g} of empty images, {last:.2g} of the batch",
        ),
    }


@mpl.rc_context(STYLE)
def draw(losses: dict[str, list[float]], expected: float) -> Figure:
    """Draws the loss of the batch and of the empty images over the steps, and that of a guess."""
    figure = Figure((0.7 * WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    for (name, values), color in zip(losses.items(), (BLUE, ORANGE), strict=True):
        axes.plot(values, color=color, label=name)
    axes.axhline(expected, color=GREY, linestyle="--", label="a guess")
    axes.set(yscale="log", xlabel="step", ylabel="training loss", title="The same batch, step after step")
    axes.legend()
    return figure


def check(options: Options) -> dict[str, Any]:
    """Runs the checks, and writes the report; of a directory where that was done it returns the result.

    Raises:
        ValueError: an option that cannot be.
        RunError: the directory holds something else.
    """
    directory, config = options.directory, plain(options.training)
    if result := check_run(directory, options):
        return result
    experiment = classification.build(config)
    losses, num_classes = learn(config, experiment, options.steps), len(experiment.data.classes)
    verdicts = judge(losses, num_classes, options)
    with start_run(directory, options):
        report.write_report(
            directory,
            title=f"Checks of {config.model} on {config.data}",
            summary={
                name: f"{'passed' if passed else 'FAILED'}: {found}" for name, (passed, found) in verdicts.items()
            },
            config=to_json(options),
            records=[],
            figures={
                "Loss of one batch, and of empty images with its labels": draw(losses, guess(config.loss, num_classes))
            },
        )
        result = {"checks": {name: {"passed": p, "found": f} for name, (p, f) in verdicts.items()}, "losses": losses}
        write_json(directory / "result.json", result)
    return result


def main() -> None:
    """Checks what the command line names; the exit code is 1 where a check failed."""
    options = tyro.cli(
        Options, prog="python -m train.sanity_checks", config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
    with exit_on(RunError, ValueError, OSError):
        result = check(options)
    for name, verdict in result["checks"].items():
        print(f"{'passed' if verdict['passed'] else 'FAILED'}  {name}: {verdict['found']}")
    print(options.directory / "report.html")
    sys.exit(0 if all(verdict["passed"] for verdict in result["checks"].values()) else 1)


if __name__ == "__main__":
    main()
