"""GoogLeNet: blocks of parallel convolutions, and two auxiliary heads that are trained with the network.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke and Rabinovich, "Going deeper with convolutions",
https://arxiv.org/abs/1409.4842. Torchvision's form has batch normalisation in place of biases and of local response
normalisation, 3x3 convolutions where the paper has 5x5 (https://github.com/pytorch/vision/issues/906), and a last
maximum over 2x2 pixels. Where the paper is silent (constants of the response normalisation, initial values), its form
is as Caffe's replication, https://github.com/BVLC/caffe/tree/master/models/bvlc_googlenet, but that alpha is not
divided by the number of channels.

Shapes: B batch, H height, W width, C channels, D dimension, K classes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, constant, normal, zeros
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import ConvNorm, conv2d
from jaxvision.layers.image import check_image, renormalize
from jaxvision.layers.initializers import LinearInit, uniform
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.local_response import local_response_norm
from jaxvision.ops.pooling import max_pool, max_pool_ceil, pool_to_size, spatial_mean
from jaxvision.weights.names import Line

Form = Literal["torchvision", "paper"]
Widths = tuple[int, int, int, int, int, int]
"""Channels of a block: 1x1, before 3x3, 3x3, before 5x5, 5x5, after pooling."""

BLOCKS: tuple[tuple[tuple[str, Widths], ...], ...] = (  # table 1
    (("3a", (64, 96, 128, 16, 32, 32)), ("3b", (128, 128, 192, 32, 96, 64))),
    (
        ("4a", (192, 96, 208, 16, 48, 64)),
        ("4b", (160, 112, 224, 24, 64, 64)),
        ("4c", (128, 128, 256, 24, 64, 64)),
        ("4d", (112, 144, 288, 32, 64, 64)),
        ("4e", (256, 160, 320, 32, 128, 128)),
    ),
    (("5a", (256, 160, 320, 32, 128, 128)), ("5b", (384, 192, 384, 48, 128, 128))),
)
HEADS = {"4a": "aux1", "4d": "aux2"}
"""Auxiliary heads, by the block that they follow."""


class Inception(nn.Module):
    """Four branches, whose channels are joined (figure 2b).

    Attributes:
        widths: channels.
        kernel_size: of the branch that has 5x5 convolutions in the paper.
        layer: constructor of a convolution and what follows it.
    """

    widths: Widths
    kernel_size: int
    layer: Callable[..., Callable]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C']
        """Applies the block."""
        one, before_three, three, before_five, five, pooled = self.widths
        branches = [
            self.layer(one, name="branch1")(x),
            self.layer(three, 3, name="branch2_2")(self.layer(before_three, name="branch2_1")(x)),
            self.layer(five, self.kernel_size, name="branch3_2")(self.layer(before_five, name="branch3_1")(x)),
            self.layer(pooled, name="branch4_2")(max_pool(x, (3, 3), padding=((1, 1), (1, 1)))),
        ]
        return jnp.concatenate(branches, -1)


class AuxiliaryHead(nn.Module):
    """Logits from a feature map within the network (section 5).

    Attributes:
        num_classes: of the logits.
        dropout: probability with which a feature is dropped.
        window, stride: of the means that make the map 4x4, on a map that they fill; on others in proportion.
        layer: constructor of a convolution and what follows it.
        hidden_init, head_init: how weights and biases of the two linear layers are drawn.
        dtype: of the computation; parameters are float32.
    """

    num_classes: int
    dropout: float
    window: int
    stride: int
    layer: Callable[..., Callable]
    hidden_init: LinearInit
    head_init: LinearInit
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, K]
        """Returns the logits."""
        x = self.layer(128, name="conv")(pool_to_size(x, 4, self.window, self.stride))
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # PyTorch's order, so that its weights need none of their own
        x = nn.relu(self._linear(1024, x.shape[-1], self.hidden_init, "fc")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._linear(self.num_classes, x.shape[-1], self.head_init, "head")(x)

    def _linear(self, features: int, fan_in: int, init: LinearInit, name: str) -> nn.Dense:
        kernel_init, bias_init = init(fan_in, features)
        return nn.Dense(features, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init, name=name)


class GoogLeNet(nn.Module):
    """A stem and inception blocks, with maxima of stride 2 between them.

    Attributes:
        form: "torchvision" or "paper", see above.
        blocks: names and widths of the blocks of each stage.
        num_classes: of the auxiliary heads; 0 leaves them out.
        aux_logits: whether there are auxiliary heads, whose logits are sown in training, in the collection "auxiliary".
        transform_input: whether images, normalised with the means and deviations of ImageNet, are normalised anew with
            means and deviations of 0.5, as those were with which torchvision's weights were trained.
        dropout: probability with which a pooled feature is dropped in training.
        dropout_aux: the same within the auxiliary heads.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    form: Form = "torchvision"
    blocks: tuple[tuple[tuple[str, Widths], ...], ...] = BLOCKS
    num_classes: int = 1000
    aux_logits: bool = True
    transform_input: bool = False
    dropout: float = 0.2
    dropout_aux: float = 0.7
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes what `pool` needs."""
        self.drop = nn.Dropout(self.dropout)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the maps before each halving, [B, H/2, W/2, 64], [B, H/4, W/4, 192], ..., [B, H/32, W/32, C]."""
        check_image(image, self.in_channels)
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}, got {self.form!r}")
        paper = self.form == "paper"
        layer = self._layer(train)
        respond = local_response_norm if paper else lambda x: x
        x = renormalize(image) if self.transform_input else image
        stages = [layer(64, 7, 2, name="conv1")(x)]
        x = layer(64, name="conv2")(respond(max_pool_ceil(stages[0], 3, 2)))
        stages.append(respond(layer(192, 3, name="conv3")(x)))
        for i, blocks in enumerate(self.blocks, start=3):
            x = max_pool_ceil(stages[-1], 2 if i == 5 and not paper else 3, 2)
            for name, widths in blocks:
                x = Inception(widths, 5 if paper else 3, layer, name=f"inception{name}")(x)
                if self.aux_logits and self.num_classes and name in HEADS:
                    self._auxiliary(x, HEADS[name], layer, train)
            stages.append(x)
        return tuple(stages)

    def _auxiliary(self, x: jax.Array, name: str, layer: Callable, train: bool) -> None:
        """Sows the logits of an auxiliary head in training; otherwise it only has parameters."""
        if not (train or self.is_initializing()):
            return
        paper = self.form == "paper"
        window, stride = (5, 3) if paper else (1, 1)
        inits = (caffe_hidden, caffe_head) if paper else (torchvision_linear, torchvision_linear)
        head = AuxiliaryHead(self.num_classes, self.dropout_aux, window, stride, layer, *inits, self.dtype, name=name)
        logits = head(x, train=train)
        if not self.is_initializing():
            self.sow("auxiliary", f"{name}_logits", logits)

    def _layer(self, train: bool) -> Callable[..., Callable]:
        """Returns the constructor of a convolution and what follows it."""
        if self.form == "torchvision":
            conv = partial(conv2d, use_bias=False, dtype=self.dtype, kernel_init=normal(0.01))
            return partial(ConvNorm, conv=conv, norm=partial(BatchNorm, train, epsilon=1e-3, dtype=self.dtype))

        def layer(features: int, kernel_size: int = 1, stride: int = 1, *, name: str) -> Callable:
            fields = {"dtype": self.dtype, "kernel_init": xavier, "bias_init": constant(0.2)}
            conv = conv2d(features, kernel_size, stride, name=name, **fields)
            return lambda x: nn.relu(conv(x))

        return layer

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the mean of each channel; in training some are dropped."""
        means = spatial_mean(feature_map)
        return self.drop(means, deterministic=not train)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in torchvision's files, and in those of a module of the paper's form called alike."""
        return {"torchvision": TORCHVISION} if self.form == "torchvision" else {"torch": PAPER}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 224, 224, self.in_channels), jnp.float32)


xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # as Caffe means it


def torchvision_linear(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights and bias of a linear layer as torchvision's GoogLeNet does."""
    del fan_out
    return normal(0.01), uniform(fan_in**-0.5)


def caffe_hidden(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights and bias of the other linear layers as Caffe's GoogLeNet does."""
    del fan_in, fan_out
    return xavier, constant(0.2)


def caffe_head(fan_in: int, fan_out: int) -> tuple[Initializer, Initializer]:
    """Returns what draws weights and bias of the layers that give logits as Caffe's GoogLeNet does."""
    del fan_in, fan_out
    return xavier, zeros


def _optional(lines: dict[str, str]) -> dict[str, Line]:
    return {ours: Line(foreign, optional=("aux1.", "aux2.")) for ours, foreign in lines.items()}


TORCHVISION = {
    "conv{i}/conv": "conv{i}.conv",
    "conv{i}/norm": "conv{i}.bn",
    "inception{i}/branch1/conv": "inception{i}.branch1.conv",
    "inception{i}/branch1/norm": "inception{i}.branch1.bn",
    "inception{i}/branch{j}_{k}/conv": "inception{i}.branch{j}.{k-1}.conv",
    "inception{i}/branch{j}_{k}/norm": "inception{i}.branch{j}.{k-1}.bn",
    **_optional({
        "aux{i}/conv/conv": "aux{i}.conv.conv",
        "aux{i}/conv/norm": "aux{i}.conv.bn",
        "aux{i}/fc": "aux{i}.fc1",
        "aux{i}/head": "aux{i}.fc2",
    }),
    "head": "fc",
}  # fmt: skip

PAPER = {
    "conv{i}": "conv{i}",
    "inception{i}/branch1": "inception{i}.branch1",
    "inception{i}/branch{j}_{k}": "inception{i}.branch{j}.{k-1}",
    **_optional({"aux{i}/conv": "aux{i}.conv", "aux{i}/fc": "aux{i}.fc1", "aux{i}/head": "aux{i}.fc2"}),
    "head": "fc",
}

_googlenet = partial(classifier, GoogLeNet, auxiliary_weight=0.3)

VARIANTS = {
    "googlenet": partial(_googlenet, head_init=torchvision_linear),
    "googlenet_paper": partial(_googlenet, form="paper", dropout=0.4, head_init=caffe_head),
}
