"""Where in an image a classifier sees what it says.

Shapes: B batch, H height, W width, C channels, K classes; h and w of the last feature map, or of the places of a mask.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.classifier import Classifier
from jaxvision.ops.arithmetic import output_size


def grad_cam(model: Classifier, variables: Any, images: jax.Array, classes: jax.Array) -> jax.Array:
    """Weighs the channels of the last feature map by the mean gradient of a class's logit, and sums what speaks for it.

    Selvaraju et al. 2017, "Grad-CAM", https://arxiv.org/abs/1610.02391. Where the pooled features are the mean of the
    feature map, this is the class activation map (https://arxiv.org/abs/1512.04150) without its negative values, over
    h w. Of a Transformer the map is of the patches' tokens that the last block is given: what that makes of them no
    longer counts where the head sees a class token.

    Args:
        model: as `create_model` gives it, with a head.
        variables: its parameters and statistics.
        images: [B, H, W, C], as `preprocess` gives them.
        classes: [B], whose evidence is asked for.

    Returns:
        [B, h, w], 0 and above.

    Raises:
        ValueError: the model has no head, or a class does not exist.
    """
    _check_classes(model, images, classes)
    has_tokens = hasattr(model.backbone, "last_block")
    features = model.apply(variables, images, method=_before_last_block if has_tokens else _last_map)
    logits_of = _after_last_block if has_tokens else "logits"

    def of_classes(features):
        logits = model.apply(variables, features, train=False, method=logits_of)
        return jnp.take_along_axis(logits, jnp.asarray(classes)[:, None], 1).sum()

    as_map = partial(model.backbone.as_map, size=images.shape[1:3]) if has_tokens else lambda feature_map: feature_map
    weights = as_map(jax.grad(of_classes)(features)).mean((1, 2), keepdims=True)  # [B, 1, 1, C]
    return jax.nn.relu((weights * as_map(features)).sum(-1))


def attention_maps(model: Classifier, variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    """Returns where each head of each block looks for the token that the classifier's head sees.

    That is the class token; of one with two heads the mean of both tokens, and where the mean of the patches is pooled,
    the mean of theirs.

    Args:
        model: a Transformer upon patches, as `create_model` gives it.
        variables: its parameters.
        images: [B, H, W, C], as `preprocess` gives them.

    Returns:
        For each block the weights of attention [B, h, w, heads], of the patches.

    Raises:
        TypeError: the model has no attention between patches.
    """
    maps = [_of_pooled(model, weights).swapaxes(1, 2) for weights in _attention_weights(model, variables, images)]
    return tuple(model.backbone.as_map(heads, images.shape[1:3]) for heads in maps)


def attention_rollout(model: Classifier, variables: Any, images: jax.Array) -> jax.Array:
    """Follows attention through all blocks: how much of each patch is in what the classifier's head sees.

    Abnar and Zuidema 2020, "Quantifying attention flow in transformers", https://arxiv.org/abs/2005.00928: the weights
    of a block are the mean of its heads, and half of what it gives is what it was given.

    Args:
        model, variables, images: see `attention_maps`.

    Returns:
        [B, h, w], 0 and above; with what is of the tokens before the patches the sum is 1.

    Raises:
        TypeError: the model has no attention between patches.
    """
    wide = jnp.promote_types(model.dtype, jnp.float32)
    mixes = [weights.mean(1, dtype=wide) for weights in _attention_weights(model, variables, images)]
    flow = jnp.eye(mixes[0].shape[-1])
    for mix in mixes:
        flow = (mix @ flow + flow) / 2
    return model.backbone.as_map(_of_pooled(model, flow)[..., None], images.shape[1:3])[..., 0]


def _attention_weights(model: Classifier, variables: Any, images: jax.Array) -> list[jax.Array]:  # of [B, heads, N, N]
    backbone = getattr(model, "backbone", None)
    if not hasattr(backbone, "last_block"):
        name = type(backbone or model).__name__
        raise TypeError(f"attention is shown of Transformers upon patches; {name} has none")
    _, state = model.apply(variables, images, train=False, mutable=["intermediates"])
    blocks = state["intermediates"]["backbone"]
    return [blocks[f"block{i}"]["attention"]["weights"][0] for i in range(1, backbone.depth + 1)]


def _of_pooled(model: Classifier, weights: jax.Array) -> jax.Array:  # [..., N, N] -> [..., N]
    """Returns the weights of the tokens that are pooled."""
    return weights[..., : model.backbone.num_prefix or None, :].mean(-2)


def _last_map(model: Classifier, images: jax.Array) -> jax.Array:  # -> [B, h, w, C]
    return model.backbone.features(images, train=False)[-1]


def _before_last_block(model: Classifier, images: jax.Array) -> jax.Array:  # -> [B, N, C]
    return (model.backbone.embed(images, train=False), *model.backbone.features(images, train=False))[-2]


def _after_last_block(model: Classifier, tokens: jax.Array, *, train: bool) -> jax.Array:  # [B, N, C] -> [B, K]
    return model.logits(model.backbone.last_block(tokens, train=train), train=train)


def occlusion(
    model: Classifier,
    variables: Any,
    images: jax.Array,
    classes: jax.Array,
    *,
    size: int,
    stride: int,
    fill: float = 0.0,
) -> jax.Array:
    """Measures how much of a class's probability is lost when a square of the image is covered.

    Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 4.2. Place (i, j) covers `size` pixels in both
    directions from pixel (i stride, j stride) on.

    Args:
        model, variables, images, classes: see `grad_cam`.
        size: height and width of the square, in pixels.
        stride: from one square to the next.
        fill: value of the covered pixels; 0 is the mean of images that were normalised.

    Returns:
        [B, h, w], from -1 to 1; above 0 where the square hides what speaks for the class.

    Raises:
        ValueError: the model has no head, a class does not exist, or the square is larger than the image.
    """
    _check_classes(model, images, classes)
    rows, columns = (output_size(length, size, stride) for length in images.shape[1:3])

    def probability(images):
        logits = model.apply(variables, images, train=False)
        return jnp.take_along_axis(jax.nn.softmax(logits), jnp.asarray(classes)[:, None], 1)[:, 0]

    def lost(place):
        inside = [
            (jnp.arange(length) >= start) & (jnp.arange(length) < start + size)
            for length, start in zip(images.shape[1:3], place, strict=True)
        ]
        mask = inside[0][:, None, None] & inside[1][:, None]  # [H, W, 1]
        return whole - probability(jnp.where(mask, fill, images))

    whole = probability(images)
    places = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), -1).reshape(-1, 2) * stride
    return jax.lax.map(lost, places).T.reshape(len(images), rows, columns)


def _check_classes(model: Classifier, images: jax.Array, classes: jax.Array) -> None:
    if model.num_classes == 0:
        raise ValueError("the model has no head: it was made with num_classes=0")
    if np.shape(classes) != (len(images),):
        raise ValueError(f"classes must be [{len(images)}], one for each image; got {np.shape(classes)}")
    is_known = not isinstance(classes, jax.core.Tracer)
    if is_known and not all(0 <= label < model.num_classes for label in np.asarray(classes).tolist()):
        raise ValueError(f"classes must be from 0 to {model.num_classes - 1}, got {np.asarray(classes).tolist()}")
