"""Video classification: a backbone sees each frame, and an LSTM, or nothing but their mean, what becomes of them.

Donahue et al., "Long-term recurrent convolutional networks for visual recognition and description",
https://arxiv.org/abs/1411.4389, section 4: a class is told after every frame, and the mean counts; here that of the
logits, not of the probabilities. Shapes: B videos, T frames, H height, W width, C channels, F features, D features
that the head is given, K classes.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.initializers import torch_linear
from jaxvision.layers.recurrent import LSTM

HEADS = ("lstm", "mean")


class Video(NamedTuple):
    """Videos.

    Attributes:
        frames: [B, T, H, W, C], as the backbone wants its images.
        lengths: int [B], frames of each; what follows them does not count.
    """

    frames: jax.Array
    lengths: jax.Array


class VideoClassifier(nn.Module):
    """A backbone for every frame, and a head for all of them.

    Attributes:
        backbone: has `features` and `pool`, as `create_model(name).backbone`.
        num_classes: K.
        head_kind: "lstm" (LRCN), or "mean", to which the order of the frames is nothing.
        hidden: units of each layer of the LSTM.
        num_layers: of the LSTM.
        frozen: whether the backbone is left as it is: it gets no gradient, and is in training as it is in use.
        dropout: share dropped in training of what the LSTM and the last layer are given.
        dtype: of the computation; parameters are float32.
    """

    backbone: nn.Module
    num_classes: int
    head_kind: Literal["lstm", "mean"] = "lstm"
    hidden: int = 128
    num_layers: int = 1
    frozen: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @property
    def layers(self) -> LSTM:
        """The layers of the LSTM, in no module."""
        return LSTM(self.hidden, self.num_layers, dropout=self.dropout, dtype=self.dtype, parent=None)

    def features(self, video: Video, *, train: bool) -> jax.Array:  # -> [B, T, F]
        """Returns the pooled features of every frame.

        Raises:
            ValueError: shapes that do not fit.
        """
        shape, learns = video.frames.shape, train and not self.frozen
        if len(shape) != 5 or 0 in shape or video.lengths.shape != shape[:1]:
            raise ValueError(
                f"frames and lengths must be [B, T, H, W, C] and [B], got {shape} and {video.lengths.shape}"
            )
        images = video.frames.reshape(-1, *shape[2:])
        pooled = self.backbone.pool(self.backbone.features(images, train=learns)[-1], train=learns)
        pooled = jax.lax.stop_gradient(pooled) if self.frozen else pooled
        return pooled.astype(self.dtype).reshape(*shape[:2], -1)

    @nn.compact
    def frame_logits(self, video: Video, *, train: bool) -> jax.Array:  # -> [B, T, K]
        """Returns what is told after each frame: of it alone, or by the LSTM of all up to it."""
        if self.head_kind not in HEADS:
            raise ValueError(f"head_kind must be one of {', '.join(HEADS)}, got {self.head_kind!r}")
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = self.features(video, train=train)
        if self.head_kind == "lstm":
            x, _ = self.layers.clone(parent=self, name="recurrent")(drop(x), lengths=video.lengths, train=train)
        kernel_init, bias_init = torch_linear(x.shape[-1], self.num_classes)
        options = {"dtype": self.dtype, "kernel_init": kernel_init, "bias_init": bias_init}
        return nn.Dense(self.num_classes, **options, name="head")(drop(x))

    def __call__(self, video: Video, *, train: bool) -> jax.Array:  # -> [B, K]
        """Returns the mean of `frame_logits`."""
        logits = self.frame_logits(video, train=train)
        there = jnp.arange(logits.shape[1]) < video.lengths[:, None]
        total = jnp.where(there[..., None], logits, 0).sum(1, dtype=jnp.promote_types(self.dtype, jnp.float32))
        return (total / video.lengths[:, None]).astype(self.dtype)

    def torch_names(self) -> dict[str, dict[str, Any]]:
        """Names of the layers in a PyTorch module that has those of the backbone, and `recurrent` and `head`."""
        lines = self.layers.torch_names()["torch"]
        own = {f"recurrent/{ours}": f"recurrent.{theirs}" for ours, theirs in lines.items()} | {"head": "head"}
        return {
            layout: {f"backbone/{ours}": theirs for ours, theirs in of_backbone.items() if ours != "head"} | own
            for layout, of_backbone in self.backbone.torch_names().items()
        }

    def example_input(self) -> Video:
        """Returns the shapes and types of one video of two frames as the backbone is usually given them."""
        image = self.backbone.example_input()
        frames = jax.ShapeDtypeStruct((1, 2, *image.shape[1:]), image.dtype)
        return Video(frames, jax.ShapeDtypeStruct((1,), jnp.int32))
