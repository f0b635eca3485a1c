"""Every model by name, and its published weights."""

import difflib
import fnmatch
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxvision.cnn import (
    airbench,
    alexnet,
    convnet,
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception,
    lenet,
    mlp,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    regnet,
    resnet,
    shufflenet_v2,
    squeezenet,
    vgg,
)
from jaxvision.preprocess import Preprocessing
from jaxvision.rnn import rows
from jaxvision.transformer import deit, swin, vit
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.files import load_weights
from jaxvision.weights.published import PUBLISHED

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    **mlp.VARIANTS,
    **convnet.VARIANTS,
    **lenet.VARIANTS,
    **alexnet.VARIANTS,
    **nin.VARIANTS,
    **vgg.VARIANTS,
    **googlenet.VARIANTS,
    **inception.VARIANTS,
    **resnet.VARIANTS,
    **densenet.VARIANTS,
    **airbench.VARIANTS,
    **squeezenet.VARIANTS,
    **mobilenet_v2.VARIANTS,
    **mobilenet_v3.VARIANTS,
    **mnasnet.VARIANTS,
    **shufflenet_v2.VARIANTS,
    **regnet.VARIANTS,
    **efficientnet.VARIANTS,
    **convnext.VARIANTS,
    **rows.VARIANTS,
    **vit.VARIANTS,
    **deit.VARIANTS,
    **swin.VARIANTS,
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


def pretrained(
    name: str, *, source: str | os.PathLike[str] | None = None, new_head: jax.Array | None = None, **options: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a model with its published weights, which are fetched if they are not in the cache.

    A file is pinned, by its repository's commit or by its name, and compared with what is known of its digest, which
    `python -m jaxvision weights` shows.

    Args:
        name: of a model, for its first row in `jaxvision.weights.published`; or with a tag, "resnet50.a1_in1k".
        source: the same file from elsewhere, as `load_weights` takes it; its digest is compared no less.
        new_head: a key from `jax.random.key`: the head is drawn anew, as another `num_classes` than 0 needs.
        options: of `create_model`, before those that the weights need, such as `transform_input`.

    Returns:
        The model, and its variables by collection as `init` gives them.

    Raises:
        ValueError: there are no such weights; as `WeightsError`, they are not pinned, cannot be fetched or read, or do
            not fit.
        TypeError: the model has no such option.
    """
    tagged = tagged_name(name)
    weights = PUBLISHED[tagged]
    model = create_model(tagged.partition(".")[0], **{**weights.options, **options})
    if source is None and not weights.sha256:
        raise WeightsError(
            f"{tagged}: neither its commit nor its digest is known to this version: choose a commit of "
            f"https://huggingface.co/{weights.source.removeprefix('hf:')}/commits/main and give "
            f"source='{weights.source}@COMMIT'"
        )
    return model, load_weights(model, source or weights.source, new_head=new_head, sha256=weights.sha256)


def preprocessing(name: str) -> Preprocessing:
    """Returns what the published weights of a name expect of their images: a function of images, see there.

    Args:
        name: as `pretrained` takes it.

    Raises:
        ValueError: there are no such weights.
    """
    return PUBLISHED[tagged_name(name)].preprocessing


def tagged_name(name: str) -> str:
    """Returns the name of published weights with its tag.

    Raises:
        ValueError: there are none of that name; the message suggests the nearest.
    """
    if name in PUBLISHED:
        return name
    model = name.partition(".")[0]
    if model not in MODELS:
        raise ValueError(unknown_name("model", model, MODELS))
    tags = [tagged for tagged in PUBLISHED if tagged.startswith(f"{model}.")]
    if not tags:
        raise ValueError(f"no published weights of {model} are known; create_model makes it, init draws its variables")
    if model != name:
        raise ValueError(f"unknown weights {name!r}; of {model} there are {', '.join(tags)}")
    return tags[0]


def unknown_name(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """Returns the message for a name that is not one of those known, with the nearest."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:3]
    return f"unknown {kind} {name!r}; did you mean {', '.join(near)}?"
