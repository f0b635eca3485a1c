"""The augmentations that published trainings of classifiers use, by name.

Shapes: B batch, H height, W width, C channels, h and w of the result.
"""

from collections.abc import Callable

import jax

from jaxvision.augment.arguments import Size, as_pair
from jaxvision.augment.color import random_pca_color_shift
from jaxvision.augment.crops import random_crop, random_resized_crop
from jaxvision.augment.geometry import random_horizontal_flip
from jaxvision.augment.policies import auto_augment, rand_augment, trivial_augment

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]

POLICIES: dict[str, Augmentation] = {
    "autoaugment": lambda key, images: auto_augment(key, images, interpolation="bilinear"),
    "randaugment": lambda key, images: rand_augment(key, images, interpolation="bilinear"),
    "trivialaugment": lambda key, images: trivial_augment(key, images, interpolation="bilinear"),
}
RECIPES = ("crop-flip", "alexnet", "imagenet", *POLICIES)


def recipe(name: str, size: Size) -> Augmentation:
    """Returns the augmentation of a published training.

    - "crop-flip": He et al., https://arxiv.org/abs/1512.03385, section 4.2, for CIFAR: a crop after padding by an
      eighth of the height (4 pixels of 32), and a horizontal flip.
    - "alexnet": Krizhevsky et al., https://papers.nips.cc/paper/4824, section 4.1: a crop anywhere in a larger image, a
      horizontal flip, and a shift of the colours along their principal components.
    - "imagenet": a random resized crop (areas from 8 %) and a horizontal flip, as for most networks on ImageNet.
    - "autoaugment", "randaugment", "trivialaugment": the same, then that policy with its published settings,
      bilinearly.

    Args:
        name: one of RECIPES.
        size: height and width of the images it gives, or one number for both.

    Returns:
        A function of a key and images [B, H, W, C] that gives images [B, h, w, C].

    Raises:
        ValueError: no recipe has that name, or a size below 1.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown augmentation {name!r}; there are {', '.join(RECIPES)}")
    size = as_pair(size)

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        crop_key, flip_key, policy_key = jax.random.split(key, 3)
        if name == "crop-flip":
            images = random_crop(crop_key, images, size=size, padding=size[0] // 8)
        elif name == "alexnet":
            images = random_crop(crop_key, images, size=size)
        else:
            images = random_resized_crop(crop_key, images, size=size)
        images = random_horizontal_flip(flip_key, images)
        if name == "alexnet":
            images = random_pca_color_shift(policy_key, images)
        return POLICIES[name](policy_key, images) if name in POLICIES else images

    return augment
