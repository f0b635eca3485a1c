"""Convolutions."""

from typing import Any

import flax.linen as nn

from jaxvision.ops.convolution import conv_general_dilated


def conv2d(features: int, kernel_size: int, stride: int = 1, *, padding: int | None = None, **fields: Any) -> nn.Conv:
    """Returns a 2-D convolution padded symmetrically, as PyTorch pads (XLA's "SAME" is uneven at stride 2).

    Args:
        features: output channels.
        kernel_size: height and width of the kernel.
        stride: in both directions.
        padding: rows and columns of zeros on each side; None keeps the size of the image at stride 1.
        fields: further fields of `flax.linen.Conv`.
    """
    pad = kernel_size // 2 if padding is None else padding
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        (stride, stride),
        padding=((pad, pad), (pad, pad)),
        conv_general_dilated=conv_general_dilated,
        **fields,
    )
