"""airbench94: the convolutional network of the fastest known training on CIFAR-10.

Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", https://arxiv.org/abs/2404.00498, as published in
https://github.com/KellerJordan/cifar10-airbench. Its recipe, `train/configs/cifar10_speed.py`, computes the kernel of
the first layer from the training images (`whitening_kernel`) and keeps it, and the scales of the normalisations, as
they are. Shapes: B batch, H height, W width, C channels, P patches.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.classifier import classifier
from jaxvision.layers.conv import conv2d
from jaxvision.layers.image import check_image
from jaxvision.layers.initializers import uniform
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.pooling import max_pool

PATCH = 2  # height and width of the patches that the first layer whitens
LOGIT_SCALE = 1 / 9

gelu = partial(nn.gelu, approximate=False)


def whitening_kernel(images: jax.Array, epsilon: float = 5e-4) -> jax.Array:  # [B, H, W, C] -> [2, 2, C, 8 C]
    """Returns a kernel whose outputs are uncorrelated over the patches of images, and their negatives.

    Args:
        images: normalised training images.
        epsilon: added to the variance of each output before it is divided by its root.
    """
    patches = jax.lax.conv_general_dilated_patches(
        images, (PATCH, PATCH), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    flat = patches.reshape(-1, patches.shape[-1])  # [P, C * 2 * 2], channels first
    variances, directions = jnp.linalg.eigh(flat.T @ flat / len(flat))  # ascending
    whitening = (directions / jnp.sqrt(variances + epsilon))[:, ::-1]
    kernel = whitening.reshape(images.shape[-1], PATCH, PATCH, -1).transpose(1, 2, 0, 3)
    return jnp.concatenate([kernel, -kernel], -1)


def partial_identity(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Draws a kernel whose first outputs are its inputs, the others as PyTorch draws them."""
    height, width, inputs, outputs = shape
    kernel = uniform((height * width * inputs) ** -0.5)(key, shape, dtype)
    same = min(inputs, outputs)
    kernel = kernel.at[:, :, :, :same].set(0)
    return kernel.at[height // 2, width // 2, jnp.arange(same), jnp.arange(same)].set(1)


class Airbench(nn.Module):
    """A whitening convolution and three groups of two convolutions.

    Attributes:
        widths: channels of each group.
        in_channels: channels of the image.
        dtype: of the computation; parameters are float32.
    """

    widths: tuple[int, ...] = (64, 256, 256)
    in_channels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def features(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns the output of each group: [B, 15, 15, C1], [B, 7, 7, C2] and [B, 3, 3, C3] of 32x32 pixels."""
        check_image(image, self.in_channels, at_least=self._smallest())
        conv = partial(conv2d, dtype=self.dtype)
        conv3x3 = partial(conv, kernel_size=3, use_bias=False, kernel_init=partial_identity)
        norm = partial(BatchNorm, train, momentum=0.6, epsilon=1e-12, dtype=self.dtype)
        values = PATCH * PATCH * self.in_channels  # of a patch
        whiten = conv(2 * values, PATCH, padding=0, kernel_init=uniform(values**-0.5), name="whiten")
        x, groups = gelu(whiten(image)), []
        for i, width in enumerate(self.widths, start=1):
            x = max_pool(conv3x3(width, name=f"group{i}_conv1")(x), (2, 2), (2, 2))
            x = gelu(norm(name=f"group{i}_norm1")(x))
            x = gelu(norm(name=f"group{i}_norm2")(conv3x3(width, name=f"group{i}_conv2")(x)))
            groups.append(x)
        return tuple(groups)

    def _smallest(self) -> int:
        """The whitening takes a pixel off, and each group halves the map, rounding down."""
        return PATCH - 1 + 2 ** len(self.widths)

    def pool(self, feature_map: jax.Array, *, train: bool) -> jax.Array:  # [B, H, W, C] -> [B, C]
        """Returns the maximum of each channel, divided by 9: the head is linear, so that its logits are."""
        del train
        return feature_map.max((1, 2)) * LOGIT_SCALE

    def torch_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in the published code, a `torch.nn.Sequential`."""
        return {
            "airbench": {
                "whiten": "0",
                "group{i}_conv{k}": "{i+1}.conv{k}",
                "group{i}_norm{k}": "{i+1}.norm{k}",
                "head": f"{len(self.widths) + 4}",
            }
        }

    def example_input(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, 32, 32, self.in_channels), jnp.float32)


VARIANTS = {"airbench94": partial(classifier, Airbench, num_classes=10, head_bias=False)}
