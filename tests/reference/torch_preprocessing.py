"""The inputs of published weights, as torchvision and timm prepare them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision.datasets.folder import pil_loader

TORCHVISION_TAGS = {
    "tv_in1k": "IMAGENET1K_V1",
    "tv2_in1k": "IMAGENET1K_V2",
    "swag_ft_in1k": "IMAGENET1K_SWAG_E2E_V1",
    "swag_lc_in1k": "IMAGENET1K_SWAG_LINEAR_V1",
}


def torchvision_weights(name: str) -> torchvision.models.WeightsEnum | None:
    """Returns torchvision's entry for the weights of a name such as "resnet50.tv_in1k", None where they are timm's."""
    model, _, tag = name.partition(".")
    return torchvision.models.get_model_weights(model)[TORCHVISION_TAGS[tag]] if tag in TORCHVISION_TAGS else None


def reference_transform(name: str) -> Callable[[Image.Image], torch.Tensor]:
    """Returns the publisher's transform for evaluation."""
    if weights := torchvision_weights(name):
        return weights.transforms()
    return create_transform(**resolve_data_config(timm.get_pretrained_cfg(name).to_dict()))


def prepared(name: str, path: Path) -> np.ndarray:  # -> [crop, crop, 3]
    """Reads an image file as torchvision's data sets do, and prepares it as the weights expect."""
    return reference_transform(name)(pil_loader(path)).permute(1, 2, 0).numpy()
