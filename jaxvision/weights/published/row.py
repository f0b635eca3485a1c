"""A row of the table of published weights, and what several rows have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxvision.preprocess import Preprocessing

TORCHVISION = "torchvision:"
TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"

EVALUATED_AT_256 = Preprocessing(resize=256, crop=224)
EVALUATED_AT_232 = Preprocessing(resize=232, crop=224)
EVALUATED_AT_235 = Preprocessing(resize=235, crop=224, interpolation="bicubic")  # 224 / 0.95
BICUBIC_AT_256 = Preprocessing(resize=256, crop=224, interpolation="bicubic")
BICUBIC_AT_269 = Preprocessing(resize=269, crop=256, interpolation="bicubic")  # 256 / 0.95
INCEPTION_AT_235 = dataclasses.replace(EVALUATED_AT_235, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
INCEPTION_AT_248 = dataclasses.replace(INCEPTION_AT_235, resize=248)  # 224 / 0.9


@dataclasses.dataclass(frozen=True)
class Published:
    """One file of weights.

    Attributes:
        source: as `load_weights` takes it: on the hub, or the publisher's address.
        sha256: what is known of the file's digest: all 64 hexadecimal digits, the first eight or ten, or none.
        licence: as the publisher states it, an SPDX identifier.
        accuracy: top-1, in per cent of ImageNet's validation images, as the publisher states it for this input.
        preprocessing: the input.
        options: of the model, where these weights need other than its own.
    """

    source: str
    sha256: str
    licence: str
    accuracy: float
    preprocessing: Preprocessing
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
