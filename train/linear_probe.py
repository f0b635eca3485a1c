"""Trains the head alone, on features computed once: `python -m train.linear_probe --model alexnet --weights published`.

The features are the pooled ones of the model (the 4,096 of AlexNet, say) of images as the evaluation sees them; the
head is scikit-learn's logistic regression, its penalty chosen on the validation split.

Shapes: N images, D features, K classes.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

import jaxvision as jv
from jaxvision.classifier import ClassMaps
from train import classification
from train.data.images import LabelledImages
from train.shared.figures import BLUE, GREY, STYLE, WIDTH
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, check_run, exit_on, start_run
from train.transfer import TransferConfig

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C: the smaller, the more is penalised


@dataclasses.dataclass(frozen=True)
class Options:
    """Train the head of a model on features that are computed once."""

    model: str = "lenet5"
    """Name of the model."""
    data: str = "digits"
    """Data set, as train.classification has them."""
    data_dir: Path | None = None
    """Directory of the files of the data set."""
    image_size: int = 32
    """Height and width of the images that the model sees."""
    resize: int | None = None
    """Shorter side after resizing; by default the image size."""
    seed: int = 0
    """Of the weights, where they are random."""
    run_dir: Path | None = None
    """Directory of the run; by default runs/probe-<model>-<data>-<seed>."""
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    """Options of the weights of the backbone."""

    @property
    def config(self) -> classification.Config:
        """What a training of the whole model would be."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        directory = self.run_dir or Path("runs", f"probe-{self.model}-{self.data}-{self.seed}")
        return classification.Config(**shared | {"run_dir": directory}, optimizer=OptimizerConfig(ema=None))


def features_of(experiment: classification.Experiment, split: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pooled features [N, D] of a split, and its labels [N]."""
    model, variables = experiment.model.clone(num_classes=0), experiment.state.variables
    run = jax.jit(lambda variables, images: model.apply(variables, experiment.preprocessing(images), train=False))
    size, features, labels = 256, [], []
    order = lambda step: np.arange(step * size, min((step + 1) * size, len(split)))
    for batch in split.batches(order, 0, -(-len(split) // size)):
        missing = size - len(batch["label"])
        images = np.pad(batch["image"], ((0, missing), (0, 0), (0, 0), (0, 0)))
        features.append(np.asarray(run(variables, images), np.float32)[: size - missing])
        labels.append(batch["label"])
    return np.concatenate(features), np.concatenate(labels)


def fit_head(
    features: dict[str, np.ndarray], labels: dict[str, np.ndarray], num_classes: int
) -> tuple[dict[str, jax.Array], dict[float, float]]:
    """Returns the kernel [D, K] and bias [K] of the head that is best on the validation split, and what each scores.

    Args:
        features: [N, D] of the splits `train` and `val`; they are standardised for the regression.
        labels: [N].
        num_classes: K, each of them among the training labels.

    Returns:
        The head, and by penalty the accuracy on the validation split.

    Raises:
        ValueError: a class has no training image.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    if missing := sorted(set(range(num_classes)) - set(labels["train"].tolist())):
        raise ValueError(f"no training image is of class {missing[0]}")
    mean, std = features["train"].mean(0), features["train"].std(0)
    scale = 1 / np.where(std > 0, std, 1)
    standard = {name: (values - mean) * scale for name, values in features.items()}
    heads = {c: LogisticRegression(C=c, max_iter=1000).fit(standard["train"], labels["train"]) for c in PENALTIES}
    scores = {c: float(head.score(standard["val"], labels["val"])) for c, head in heads.items()}
    best = heads[max(scores, key=scores.get)]
    kernel, bias = best.coef_.T, best.intercept_  # of two classes scikit-learn keeps the second alone
    if num_classes == 2:
        kernel, bias = np.pad(kernel, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    kernel = scale[:, None] * kernel
    return {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias - mean @ kernel)}, scores


@mpl.rc_context(STYLE)
def draw(scores: Mapping[float, float]) -> Figure:
    """Draws the accuracy on the validation split of each penalty."""
    figure = Figure((0.7 * WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    best = max(scores, key=scores.get)
    axes.plot(list(scores), list(scores.values()), color=BLUE, marker="o")
    axes.axvline(best, color=GREY, linestyle=":", label=f"kept: C = {best:g}, {scores[best]:.2%}")
    axes.set(xscale="log", xlabel="C, of which less penalises more", ylabel="validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    return figure


def probe(options: Options) -> dict[str, Any]:
    """Trains the head, and reports; of a complete run it returns the result.

    Raises:
        ValueError: an option that cannot be, or a model whose logits are not those of a head with a bias, on pooled
            features.
        RunError: the directory holds something else.
    """
    config = options.config
    if result := check_run(config.directory, config):
        return result
    if isinstance(jv.create_model(options.model), ClassMaps):
        raise ValueError(
            f"--model {options.model} makes its logits of class maps, not of pooled features: train its head alone by "
            f"python -m train.classification --model {options.model} --group-rates backbone=0, with the same --weights"
        )
    experiment = classification.build(config)
    if set(experiment.state.params.get("head", {})) != {"kernel", "bias"}:
        raise ValueError(f"--model {options.model} has no linear head with a bias, which alone can be trained")
    with start_run(config.directory, config):
        splits = {name: features_of(experiment, getattr(experiment.data, name)) for name in ("train", "val")}
        features, labels = ({name: pair[part] for name, pair in splits.items()} for part in (0, 1))
        head, scores = fit_head(features, labels, len(experiment.data.classes))
        variables = experiment.state.variables
        variables = {**variables, "params": {**variables["params"], "head": head}}
        about = {"features": f"{features['train'].shape[1]:,}", "penalty": f"C = {max(scores, key=scores.get):g}"}
        pictures = {"Validation accuracy of heads, by penalty": draw(scores)}
        return classification.conclude(config, experiment, variables, 0, about, pictures)


def main() -> None:
    """Trains the head of what the command line names."""
    options = tyro.cli(
        Options, prog="python -m train.linear_probe", config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
    with exit_on(RunError, ValueError, OSError):
        result = probe(options)
    print(f"test accuracy {result['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
