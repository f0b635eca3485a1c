"""DeiT: ViT trained on ImageNet alone, and with a second token that learns from a teacher.

Touvron, Cord, Douze, Massa, Sablayrolles and Jegou, "Training data-efficient image transformers & distillation through
attention", https://arxiv.org/abs/2012.12877. Defaults are timm's. Shapes: B batch, N tokens, D dimension, K classes.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike

from jaxvision.classifier import Classifier, classifier
from jaxvision.transformer.vit import ViT, normal_linear, with_one_head


class Distilled(Classifier):
    """A head for the class token and one for the distillation token, whose logits are averaged.

    In training both are sown, [B, 2, K], as `logits` in the collection "heads", for those who name it as mutable: the
    paper's loss compares the first with the label and the second with what a teacher predicts (equation 3).
    """

    def logits(self, tokens: jax.Array, *, train: bool) -> jax.Array:  # [B, N, D] -> [B, K]
        """Returns the mean of the logits, or of the two tokens [B, D] where `num_classes` is 0."""
        if self.num_classes == 0:
            return self.backbone.pool(tokens, train=train)
        logits = self.linear(self.backbone.first_tokens(tokens))  # [B, 2, K]
        if train:
            self.sow("heads", "logits", logits)
        return logits.mean(1)

    @nn.compact
    def linear(self, pooled: jax.Array) -> jax.Array:  # [..., 2, D] -> [..., 2, K]
        """Applies to each of two tokens its linear layer."""
        inits = self.head_init(pooled.shape[-1], self.num_classes)
        return TwoHeads(self.num_classes, *inits, self.dtype, name="head")(pooled)


class TwoHeads(nn.Module):
    """A linear layer for each of two tokens; their weights stand side by side.

    Attributes:
        num_classes: K.
        kernel_init, bias_init: draw weights and biases.
        dtype: of the computation.
    """

    num_classes: int
    kernel_init: Initializer
    bias_init: Initializer
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:  # [..., 2, D] -> [..., 2, K]
        """Applies the two."""
        kernel = self.param("kernel", self.kernel_init, (tokens.shape[-1], 2 * self.num_classes))
        bias = self.param("bias", self.bias_init, (2 * self.num_classes,))
        tokens, kernel, bias = promote_dtype(tokens, kernel, bias, dtype=self.dtype)
        parts = zip(jnp.split(kernel, 2, -1), jnp.split(bias, 2), strict=True)
        return jnp.stack([tokens[..., n, :] @ kernel + bias for n, (kernel, bias) in enumerate(parts)], -2)


def with_two_heads(*, distilled: bool = True, **fields: Any) -> Distilled:
    """Builds a classifier on a `ViT` of two tokens, for VARIANTS.

    Raises:
        ValueError: it is to have no distillation token, which the second head sees.
    """
    if not distilled:
        raise ValueError("distilled=False is for the models of one head, as deit_tiny_patch16_224")
    return classifier(ViT, kind=Distilled, distilled=True, **fields)


_deit = partial(with_one_head, patch_size=16, depth=12, head_init=normal_linear)
_distilled = partial(with_two_heads, patch_size=16, depth=12, head_init=normal_linear)

VARIANTS = {
    "deit_tiny_patch16_224": partial(_deit, dim=192, num_heads=3),
    "deit_small_patch16_224": partial(_deit, dim=384, num_heads=6),
    "deit_base_patch16_224": partial(_deit, dim=768, num_heads=12),
    "deit_tiny_distilled_patch16_224": partial(_distilled, dim=192, num_heads=3),
    "deit_small_distilled_patch16_224": partial(_distilled, dim=384, num_heads=6),
    "deit_base_distilled_patch16_224": partial(_distilled, dim=768, num_heads=12),
}
