"""An LSTM that reads an image row by row, from top to bottom, and classifies it by its last output.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; images as sequences of rows are a
first exercise of recurrent networks (many to one). Shapes: B batch, H height, W width, C channels, D hidden units.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.image import check_image
from jaxvision.layers.recurrent import LSTM


class Rows(nn.Module):
    """Layers of an LSTM over the rows of an image.

    Attributes:
        hidden: D, units of each layer.
        num_layers: of the LSTM.
        image_size: height and width of the images.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    hidden: int = 128
    num_layers: int = 2
    image_size: int = 32
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @property
    def layers(self) -> LSTM:
        """The layers, in no module."""
        return LSTM(self.hidden, self.num_layers, dtype=self.dtype, parent=None)

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the outputs of the last layer after each row, as one map [B, H, 1, D].

        Raises:
            ValueError: the images are of another size.
        """
        check_image(image, self.in_channels, size=self.image_size)
        # Channel by channel, as PyTorch has the numbers of a row.
        rows = image.transpose(0, 1, 3, 2).reshape(*image.shape[:2], -1)  # [B, H, C W]
        outputs, _ = self.layers.clone(parent=self, name="lstm")(rows, train=train)
        return (outputs[:, :, None],)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, 1, D] -> [B, D]
        """Returns the output after the last row."""
        del train
        return feature_map[:, -1, 0]

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in a PyTorch module that calls them `lstm` and `output`."""
        lines = self.layers.torch_names()["torch"]
        return {"torch": {f"lstm/{ours}": f"lstm.{theirs}" for ours, theirs in lines.items()} | {"head": "output"}}

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.in_channels), jnp.float32)


VARIANTS = {"lstm_rows": partial(classifier, Rows, num_classes=10)}
