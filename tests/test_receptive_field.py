"""Receptive fields against published ones, and against the pixels that reach a value's gradient."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.ops.receptive_field import ALL, receptive_field
from jaxvision.summary import summarize

# Of the last map: Araujo, Norris and Sim 2019, https://distill.pub/2019/computing-receptive-fields, table 1, for the
# networks that are the same here; the others by hand, from `size += (window - 1) jump` over the longest branch.
LAST_MAPS = {
    "alexnet": 195,
    "vgg16": 212,
    "inception_v3": 1311,
    "lenet5": 32,
    "resnet18": 435,
    "resnet50": 427,
    "mobilenet_v2": 491,
}


def conv(x, window=3, stride=1, padding=0, **options):
    kernel = jnp.ones((window, window, x.shape[-1], 2))
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(
        x, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def branches(x):
    left = conv(conv(x, 3, 2, 1), 5, 1, 2)
    right = nn.avg_pool(x, (2, 2), (2, 2), padding="SAME")
    return jnp.concatenate([left, right[:, : left.shape[1], : left.shape[2]]], -1)


FUNCTIONS = {
    "convolution": lambda x: conv(x, 4, 3, 2),
    "dilated": lambda x: conv(conv(x, 3, 2, 1), 3, 1, 2, rhs_dilation=(2, 2)),
    "transposed": lambda x: conv(conv(x, 3, 4), 3, 1, 1, lhs_dilation=(2, 2)),
    "average pooling": lambda x: nn.avg_pool(conv(x), (3, 3), (2, 2), padding=((1, 0), (1, 0))),
    "branches": branches,
    "patches": lambda x: conv(x.reshape(1, 8, 2, 8, 2, 2).sum((2, 4))),
    "places in patches": lambda x: x.reshape(1, 8, 2, 8, 2, 2).sum((1, 3)),
    "transposed axes": lambda x: jnp.einsum("bhwc,cd->dhbw", conv(x, 5, 2), jnp.ones((2, 3)))[0, :, 0][None, ..., None],
    "slices": lambda x: jnp.pad(x[:, 1::3, 1::3], ((0, 0), (2, 1), (2, 1), (0, 0))) * 2,
    "rows beside rows": lambda x: jnp.concatenate([jnp.zeros((1, 3, 16, 2)), x[:, 2:]], 1),
    "checkpointed": jax.checkpoint(lambda x: jax.nn.relu(conv(x, 3, 1, 1)) + x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_holds_the_pixels_with_a_gradient(name):
    function, image = FUNCTIONS[name], jnp.ones((1, 16, 16, 2))
    reach = receptive_field(function, image)
    gradients = np.asarray(jax.jit(jax.jacrev(lambda x: function(x).sum((0, 3))))(image)).any((2, 5))  # [h, w, 16, 16]
    for row, column in np.ndindex(*gradients.shape[:2]):
        used = np.nonzero(gradients[row, column])
        for span, place, pixels in zip(reach, (row, column), used, strict=True):
            if span is ALL or not pixels.size:
                continue
            first, last = math.ceil(span.first + place * span.jump), math.floor(span.last + place * span.jump)
            assert first <= pixels.min()
            assert pixels.max() <= last
            if name != "transposed" and first >= 0 and last < 16:  # its values see 2 or 3 pixels, in turns
                assert (pixels.min(), pixels.max()) == (first, last)
    assert (ALL in reach) == (name == "places in patches")


@pytest.mark.parametrize(("name", "size"), LAST_MAPS.items())
def test_of_the_last_map(name, size):
    model = jv.create_model(name)
    last_map = lambda image, variables: model.apply(variables, image, train=False, method="features")[-1]
    reach = receptive_field(last_map, model.example_input(), abstract_variables(model))
    assert [span.size for span in reach] == [size, size]


def test_of_pooled_features_is_the_image():
    head = summarize(jv.create_model("resnet18"))[-1]
    assert head.receptive_field == (math.inf, math.inf)
    squeezed = {layer.path: layer.receptive_field for layer in summarize(jv.create_model("seresnet18"))}
    assert squeezed["backbone/stage1_block1/conv2"] == (27, 27)
    assert squeezed["backbone/stage1_block2/conv1"] == (math.inf, math.inf)  # weighted by means over the image


def test_of_what_uses_no_image():
    assert receptive_field(lambda x: jnp.zeros((1, 4, 4, 1)), jnp.ones((1, 4, 4, 1))) == (None, None)
