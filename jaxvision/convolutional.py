"""Classifiers slid over larger images, with the same parameters: a score for each class and place.

Sermanet et al., "OverFeat", https://arxiv.org/abs/1312.6229; Simonyan and Zisserman, https://arxiv.org/abs/1409.1556,
section 3.2. Shapes: B batch, H height, W width, C channels, K classes; h and w of the heat map.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.classifier import Classifier


class Convolutional(nn.Module):
    """A classifier whose head is applied to each window of the feature map.

    Its variables are the classifier's, its `features` too.

    Attributes:
        classifier: any, as `create_model` gives it.
        window: height and width of the window, in pixels of the feature map; None for that of the fully connected
            layers of its backbone.
    """

    classifier: Classifier
    window: tuple[int, int] | None

    def setup(self):
        """Leaves the variables where the classifier has them."""
        nn.share_scope(self, self.classifier)

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, h, w, K]
        """Returns the classifier's output for each window; they start at each pixel of the feature map.

        Raises:
            ValueError: the image is too small for one window.
        """
        backbone = self.classifier.backbone
        feature_map = backbone.features(image, train=train)[-1]
        if self.window is None:
            return self.classifier.linear(backbone.slide(feature_map, train=train))
        windows = patches(feature_map, self.window)  # [B, h, w, *window, C]
        scores = self.classifier.logits(windows.reshape(-1, *windows.shape[3:]), train=train)
        return scores.reshape(*windows.shape[:3], -1)

    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the stages of the classifier."""
        return self.classifier.features(image, train=train)

    def torch_names(self) -> dict[str, Mapping[str, Any]]:
        """Returns the name maps of the classifier."""
        return self.classifier.torch_names()

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of the one image that the classifier itself is usually given."""
        return self.classifier.example_input()


def convolutionalize(model: Classifier, window: int | tuple[int, int] | None = None) -> Convolutional:
    """Turns a classifier into a model that gives a heat map of the classes, [B, h, w, K], of images of any larger size.

    The fully connected layers of AlexNet and VGG become convolutions, the first with a kernel as large as the map that
    it sees; of other networks the pooling slides over the feature map and the linear layer becomes a 1x1 convolution.
    On images of the classifier's own size the heat map is one pixel, the classifier's output. On larger ones its pixels
    are one pixel of the feature map apart, and differ from the classifier on crops only by what the network sees beyond
    them in place of its zero padding.

    Args:
        model: as `create_model` gives it; with `num_classes=0` the heat map is of pooled features.
        window: how many pixels of the feature map the head sees, height and width or both; None for as many as that
            has of the model's example image, or as the fully connected layers see. 1 gives the finest map: where the
            pooled features are the mean of the feature map, the logits are the mean of the heat map (class activation
            maps, https://arxiv.org/abs/1512.04150).

    Returns:
        A module that takes the variables of the classifier as they are.

    Raises:
        TypeError: the model is no classifier, or its backbone gives tokens in place of a feature map.
        ValueError: the window is empty, or given although fully connected layers have theirs.
    """
    if not isinstance(model, Classifier):
        raise TypeError(f"model must be a classifier, as create_model gives it; got {type(model).__name__}")
    if hasattr(model.backbone, "slide"):
        if window is not None:
            raise ValueError(
                f"window={window}: the fully connected layers of {type(model.backbone).__name__} have theirs"
            )
        return Convolutional(model, None)
    size = _map_size(model)
    window = size if window is None else window
    window = (window, window) if isinstance(window, int) else tuple(window)
    if min(window) < 1:
        raise ValueError(f"window must be 1 or more in both directions, got {window}")
    return Convolutional(model, window)


def patches(x: jax.Array, window: tuple[int, int]) -> jax.Array:  # [B, H, W, C] -> [B, h, w, *window, C]
    """Returns every window of a map.

    Raises:
        ValueError: the map is smaller than the window.
    """
    (height, width), (rows, columns) = window, x.shape[1:3]
    if rows < height or columns < width:
        raise ValueError(f"the head sees {height}x{width} pixels of the feature map, which has {rows}x{columns}")
    rows, columns = rows - height + 1, columns - width + 1
    shifted = [x[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    return jnp.stack(shifted, 3).reshape(len(x), rows, columns, *window, x.shape[3])


def _map_size(model: Classifier) -> tuple[int, int]:
    """Returns height and width of the last stage for the model's example image.

    Raises:
        TypeError: it is no map.
    """
    run = lambda image: model.backbone.init_with_output(jax.random.key(0), image, train=False, method="features")[0]
    shape = jax.eval_shape(run, model.example_input())[-1].shape
    if len(shape) != 4:
        raise TypeError(
            f"{type(model.backbone).__name__} gives tokens {shape}, not a feature map that a head could slide over; "
            "it is applied to larger images as it is"
        )
    return shape[1:3]
