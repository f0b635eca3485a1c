"""Augmentations: pure functions of a key and a batch of images, compiled with the training step.

Those that take a key draw parameters for each image by itself and hand them to one of those that take the parameters.
Images are floating, [B, H, W, C], from 0 to 1, not yet normalised; results have their type.
"""

from jaxvision.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    jitter,
    pca_color_shift,
    random_grayscale,
    random_pca_color_shift,
    to_grayscale,
)
from jaxvision.augment.crops import crop, crop_and_resize, random_crop, random_resized_crop
from jaxvision.augment.filters import adjust_sharpness, gaussian_blur, random_gaussian_blur
from jaxvision.augment.geometry import affine, horizontal_flip, random_affine, random_horizontal_flip
from jaxvision.augment.mixing import cutmix, cutout, erase, mix, mixup, paste, random_erasing
from jaxvision.augment.policies import apply_operations, auto_augment, rand_augment, trivial_augment
from jaxvision.augment.recipes import RECIPES, recipe
from jaxvision.augment.tone import autocontrast, equalize, posterize, random_solarize, solarize

__all__ = [
    "RECIPES",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "apply_operations",
    "auto_augment",
    "autocontrast",
    "color_jitter",
    "crop",
    "crop_and_resize",
    "cutmix",
    "cutout",
    "equalize",
    "erase",
    "gaussian_blur",
    "horizontal_flip",
    "jitter",
    "mix",
    "mixup",
    "paste",
    "pca_color_shift",
    "posterize",
    "rand_augment",
    "random_affine",
    "random_crop",
    "random_erasing",
    "random_gaussian_blur",
    "random_grayscale",
    "random_horizontal_flip",
    "random_pca_color_shift",
    "random_resized_crop",
    "random_solarize",
    "recipe",
    "solarize",
    "to_grayscale",
    "trivial_augment",
]
