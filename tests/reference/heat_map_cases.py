"""Classifiers whose heat maps are compared with those of a PyTorch network. Shapes: [B, C, H, W]."""

import numpy as np

from tests.reference.random_values import random_images

HEAT_MAPS = {  # network of `cases.SHORT`, height and width of the images, pixels of the feature map that its head sees
    "convnet": ("convnet", (47, 43), 7),
    "alexnet": ("alexnet_narrow", (256, 288), 6),
    "vgg": ("vgg_short", (64, 80), 7),
    "nin": ("nin", (40, 48), 8),
    "resnet": ("resnet8", (48, 40), 8),
}


def images(case: str) -> np.ndarray:
    """Returns the images of a case, float32."""
    return random_images(2, (3, *HEAT_MAPS[case][1]))
