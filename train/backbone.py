"""The network that sees the images of a task beyond classification: which, from what weights, and whether it learns."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from jaxvision.classifier import Classifier
from train import transfer
from train.data.images import Preprocessing
from train.shared.optimizer import OptimizerConfig
from train.transfer import TransferConfig


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The network that sees the images."""

    model: str
    """Name of the network that sees the images: `python -m jaxvision list` shows them all."""
    weights: str | None = None
    """Weights it starts from: published (the first that `python -m jaxvision weights MODEL` shows), the directory of a
    complete run of train.classification, a file, or hf:OWNER/NAME@REVISION; None for random ones."""
    frozen: bool = False
    """Leave that network as its weights have it."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: a network is to be left as it is drawn.
        """
        if self.frozen and self.weights is None:
            raise ValueError("--frozen leaves the network as its --weights have it, which are not given")


def create_classifier(fields: dict[str, Any]) -> Classifier:
    """Makes the classifier that has the backbone, of `model`, `in_channels` and `dtype`, as `model.json` has them."""
    return jv.create_model(fields["model"], in_channels=fields["in_channels"], dtype=jnp.dtype(fields["dtype"]))


def expected_images(
    config: BackboneConfig, channels: int, image_size: int, statistics: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> Preprocessing:
    """Returns what the weights expect of their images, or where there are none what the training images are like.

    Args:
        config: the options.
        channels: of the images.
        image_size: height and width that the model sees.
        statistics: gives mean and standard deviation of the training images.

    Raises:
        ValueError: the weights are for images of other channels.
        RunError: they are those of a run that is not complete.
    """
    own = lambda: tuple(tuple(map(float, value)) for value in statistics())
    mean, std = transfer.statistics(TransferConfig(config.weights), config.model) or own()
    if len(mean) != channels:
        raise ValueError(f"--weights {config.weights} are for images of {len(mean)} channels, these have {channels}")
    return Preprocessing(mean, std, image_size)


def initial_variables(config: BackboneConfig, model: nn.Module, fields: dict[str, Any], key: jax.Array) -> Any:
    """Returns the variables that training starts from: drawn, but for those of a backbone with weights.

    Args:
        config: the options.
        model: has a `backbone`.
        fields: see `create_classifier`.
        key: of what is drawn.

    Raises:
        ValueError: the weights cannot be read, or do not fit (as `jaxvision.weights.WeightsError`).
        RunError: they are those of a run that is not complete, or of another model.
    """
    variables = jv.init(model, key)
    if config.weights is None:
        return variables
    read = transfer.initial_variables(TransferConfig(config.weights), config.model, create_classifier(fields), key)
    for collection, drawn in variables.items():
        if "backbone" in drawn:  # a model that does not pool has no use for layers that do
            drawn["backbone"] = {name: read[collection]["backbone"][name] for name in drawn["backbone"]}
    return variables


def rates(config: BackboneConfig, optimizer: OptimizerConfig) -> OptimizerConfig:
    """Returns the options of the optimizer, which moves nothing that is frozen: weights would decay."""
    return dataclasses.replace(optimizer, group_rates=(*optimizer.group_rates, *("backbone=0",) * config.frozen))


def check_takes(model: nn.Module, example: Any, name: str, data: str) -> None:
    """Raises ValueError, with the names of the backbone and of the data, where a model cannot take an example."""
    try:
        jax.eval_shape(lambda example: model.init(jax.random.key(0), example, train=False), example)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--model {name} cannot take --data {data}: {error}") from error
