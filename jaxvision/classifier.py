"""A classifier: a backbone, its pooled features, one linear layer.

A backbone is a module of two methods: `features(image, train=)` gives one feature map per stage (a Transformer: the
tokens [B, N, D] of each block), `pool(feature_map, train=)` makes the last of them a vector. Shapes: B batch, H height,
W width, C channels, D dimension, K classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.initializers import LinearInit, torch_linear
from jaxvision.ops.pooling import spatial_mean


class Classifier(nn.Module):
    """Logits from the pooled features of a backbone.

    Attributes:
        backbone: has `features`, `pool`, `torch_names` and `example_input`.
        num_classes: 0 leaves the linear layer out: the output is then the pooled features.
        out_indices: which stages `features` returns, counted from 0 or from the end; None for all.
        head_init: from the number of pooled features and of classes, how the head's weights and bias are drawn.
        head_bias: whether the head has a bias.
        dtype: of the computation; parameters are float32.
        auxiliary_weight: what the loss of each auxiliary head counts in training, beside 1 for that of the head. The
            backbone sows their logits [B, K] in the collection "auxiliary", for those who name it as mutable.
    """

    backbone: nn.Module
    num_classes: int = 1000
    out_indices: tuple[int, ...] | None = None
    head_init: LinearInit = torch_linear
    head_bias: bool = True
    dtype: DTypeLike = jnp.float32
    auxiliary_weight: float = 0.0

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, K]
        """Returns the logits, or the pooled features [B, D] where `num_classes` is 0."""
        return self.logits(self.backbone.features(image, train=train)[-1], train=train)

    def logits(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, K]
        """Returns what the model gives, from the last stage of `features`."""
        return self.linear(self.backbone.pool(feature_map, train=train))

    @nn.compact
    def linear(self, pooled: jax.Array) -> jax.Array:  # [..., D] -> [..., K]
        """Applies the linear layer, if there is one."""
        if self.num_classes == 0:
            return pooled
        kernel_init, bias_init = self.head_init(pooled.shape[-1], self.num_classes)
        head = nn.Dense(
            self.num_classes,
            use_bias=self.head_bias,
            dtype=self.dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            name="head",
        )
        return head(pooled)

    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the feature maps [B, H/s, W/s, C] of the stages chosen by `out_indices`."""
        stages = self.backbone.features(image, train=train)
        if self.out_indices is None:
            return stages
        wrong = [index for index in self.out_indices if not -len(stages) <= index < len(stages)]
        if wrong:
            raise ValueError(f"out_indices {wrong} do not exist: the backbone has {len(stages)} stages")
        return tuple(stages[index] for index in self.out_indices)

    def torch_names(self) -> dict[str, Mapping[str, Any]]:
        """Returns the backbone's name maps, one per layout, under `backbone/`; a line `head` is the linear layer's."""
        return {
            layout: {path if path == "head" else f"backbone/{path}": foreign for path, foreign in lines.items()}
            for layout, lines in self.backbone.torch_names().items()
        }

    def stacks(self) -> dict[str, Sequence[str]]:
        """Returns the backbone's blocks that are run as loops, under `backbone/`, see `jaxvision.stack_blocks`."""
        stacks = self.backbone.stacks() if hasattr(self.backbone, "stacks") else {}
        return {f"backbone/{path}": blocks for path, blocks in stacks.items()}

    def fits(self) -> dict[str, Any]:
        """Returns what makes weights fit that were trained on images of another size, see `from_foreign`."""
        fits = self.backbone.fits() if hasattr(self.backbone, "fits") else {}
        return {f"backbone/{path}": fit for path, fit in fits.items()}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of one image as the model is usually given it."""
        return self.backbone.example_input()


class ClassMaps(Classifier):
    """Logits as the means of class maps, which the linear layer and a ReLU make of the feature map, pixel by pixel.

    A backbone may have a method `drop(feature_map, train=)`, which drops activations before that.
    """

    def logits(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, K]
        """Returns the logits, or the pooled features [B, D] where `num_classes` is 0."""
        if self.num_classes == 0:
            return self.backbone.pool(feature_map, train=train)
        if hasattr(self.backbone, "drop"):
            feature_map = self.backbone.drop(feature_map, train=train)
        return spatial_mean(nn.relu(self.linear(feature_map)))


def classifier(
    backbone: type[nn.Module],
    *,
    kind: type[Classifier] = Classifier,
    num_classes: int = 1000,
    out_indices: tuple[int, ...] | None = None,
    head_init: LinearInit = torch_linear,
    head_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    auxiliary_weight: float = 0.0,
    **fields: Any,
) -> Classifier:
    """Builds a classifier on a backbone of the given class and fields; model files bind it in their VARIANTS."""
    known = {field.name for field in dataclasses.fields(backbone)} - {"parent", "name"}
    if "num_classes" in known:  # of the auxiliary heads
        fields["num_classes"] = num_classes
    if unknown := sorted(set(fields) - known):
        options = sorted(known | {"num_classes", "out_indices"})
        raise TypeError(f"unknown option {', '.join(unknown)}: {backbone.__name__} takes {', '.join(options)}")
    if num_classes < 0:
        raise ValueError(f"num_classes must be 0 (pooled features) or more, got {num_classes}")
    indices = None if out_indices is None else tuple(out_indices)
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }  # to be hashed
    return kind(backbone(dtype=dtype, **fields), num_classes, indices, head_init, head_bias, dtype, auxiliary_weight)
