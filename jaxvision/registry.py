"""Every model by name."""

import difflib
import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from jaxvision.cnn import lenet, resnet

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    **lenet.VARIANTS,
    **resnet.VARIANTS,
}


def create_model(name: str, **options: Any) -> nn.Module:
    """Builds a model by name.

    Args:
        name: one of `list_models()`.
        options: fields of the model, for every classifier `num_classes` (0 for pooled features), `in_channels`,
            `out_indices` (the stages `features` returns) and `dtype` (of the computation; parameters are float32).

    Returns:
        A Linen module: it holds no parameters; `init` or `load_weights` make them.

    Raises:
        ValueError: no model has that name; the message suggests the nearest.
        TypeError: the model has no such option.
    """
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, MODELS))
    return MODELS[name](**options)


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the models that match a shell pattern such as "resnet*", in the order of their families."""
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


def unknown_name(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """Returns the message for a name that is not one of those known, with the nearest."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:3]
    return f"unknown {kind} {name!r}; did you mean {', '.join(near)}?"
