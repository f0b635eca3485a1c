"""A backbone that takes no time to compile, for tests of what is built upon backbones."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.layers.conv import conv2d
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.pooling import spatial_mean
from tests.reference import captioner_cases as cases


class Backbone(nn.Module):
    """A convolution with BatchNorm."""

    dtype: Any = jnp.float32

    @nn.compact
    def features(self, image, *, train):
        x = conv2d(cases.FEATURES, 3, 2, dtype=self.dtype, name="conv")(image)
        return (nn.relu(BatchNorm(train, dtype=self.dtype, name="norm")(x)),)

    def pool(self, feature_map, *, train):
        del train
        return spatial_mean(feature_map)

    def torch_names(self):
        return {"torch": {"conv": "conv", "norm": "norm", "head": "fc"}}

    def example_input(self):
        return jax.ShapeDtypeStruct((1, *cases.IMAGE), jnp.float32)
