"""Where training starts from other weights than random ones."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

import jaxvision as jv
from jaxvision.registry import tagged_name
from jaxvision.weights.published import PUBLISHED
from train.shared.run import RunError
from train.trained import read_trained

TRANSFORMED = {"transform_input": True}  # normalised by the model a second time, so that mean and deviation are 0.5


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """What training starts from."""

    weights: str | None = None
    """Weights to start from: published (the first that `python -m jaxvision weights MODEL` shows), the directory of a
    complete run, a file, or hf:OWNER/NAME@REVISION; None for random ones. The head is drawn anew."""
    keep_head: bool = False
    """Keep the head of those weights too; they must be of the same number of classes."""
    head_init_scale: float = 1.0
    """What the kernel of a head that is drawn is multiplied by. EfficientNets draw it the wider the fewer classes there
    are: 0.1 makes that of ten as wide as that of a thousand, with which they learn far sooner."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: a head is to be kept of no weights, or scaled that is kept, or by what is not finite.
        """
        if self.keep_head and self.weights is None:
            raise ValueError("--keep-head keeps the head of --weights, which are not given")
        if self.keep_head and self.head_init_scale != 1:
            raise ValueError("--head-init-scale is of a head that is drawn, and --keep-head draws none")
        if not (math.isfinite(self.head_init_scale) and self.head_init_scale >= 0):
            raise ValueError(f"--head-init-scale must be finite and 0 or more, got {self.head_init_scale}")


def statistics(config: TransferConfig, name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the mean and the standard deviation of each channel that the weights expect; None where nothing says.

    Published weights of a model that normalises its images anew expect those of that (`renormalize`): the model that is
    trained then need not, and nothing else has to know of it.

    Args:
        config: the options.
        name: of the model.

    Raises:
        RunError: the directory holds no complete run.
        ValueError: there are no published weights of the model.
    """
    if config.weights is None:
        return None
    expected = None
    if config.weights == "published":
        row = PUBLISHED[tagged_name(name)]
        if row.options == TRANSFORMED:
            return (0.5,) * 3, (0.5,) * 3
        expected = row.preprocessing
    elif Path(config.weights).is_dir():
        expected = read_trained(Path(config.weights)).preprocessing
    return expected and (tuple(expected.mean), tuple(expected.std))


def initial_variables(config: TransferConfig, name: str, model: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Returns the variables that training starts from.

    Args:
        config: the options.
        name: of the model.
        model: as `create_model` gives it.
        key: of what is drawn, the whole model or its head.

    Raises:
        ValueError: the weights cannot be read, or do not fit the model (as `jaxvision.weights.WeightsError`).
        RunError: the directory is that of another model.
    """
    variables = _unscaled(config, name, model, key)
    if config.head_init_scale == 1:
        return variables
    head = variables["params"]["head"]
    scaled = head | {"kernel": head["kernel"] * config.head_init_scale}
    return variables | {"params": variables["params"] | {"head": scaled}}


def _unscaled(config: TransferConfig, name: str, model: nn.Module, key: jax.Array) -> dict[str, Any]:
    if config.weights is None:
        return jv.init(model, key)
    new_head = None if config.keep_head else key
    if config.weights == "published":
        row = PUBLISHED[tagged_name(name)]
        if row.options not in ({}, TRANSFORMED):
            raise ValueError(f"--weights published: those of {name} are of a model with {row.options}")
        return jv.load_weights(model, row.source, new_head=new_head, sha256=row.sha256)
    source = Path(config.weights)
    if not source.is_dir():
        return jv.load_weights(model, config.weights, new_head=new_head)
    if (there := read_trained(source).name) != name:
        raise RunError(f"--weights {source} is a run of {there}, not of {name}")
    return jv.load_weights(model, source / "weights.safetensors", new_head=new_head)
