"""Network in Network."""

from functools import partial

import jaxvision as jv
from jaxvision.classifier import ClassMaps, classifier
from jaxvision.cnn.nin import MlpConv, NiN
from tests.reference.case import Case, Family, Tiny

CIFAR = Case("caffe", (3, 32, 32))
IMAGENET = Case("caffe", (3, 87, 79))  # each pooling has windows beyond an edge

LAYERS = (MlpConv(5, (8, 16), pool="max"), MlpConv(5, (16, 8), pool="average"), MlpConv(3, (8, 8)))
tiny = partial(classifier, NiN, kind=ClassMaps, layers=LAYERS, image_size=8, dropout=0.0)

FAMILY = Family(
    title="Network in Network",
    inference={"nin": CIFAR, "nin_imagenet": IMAGENET},
    short={"nin": CIFAR},
    networks={"nin": partial(jv.create_model, "nin", dropout=0.0)},
    tiny={"nin": Tiny(tiny)},
    stands_for=lambda name: ("nin", "nin"),
    counts={"nin": 966_986, "nin_imagenet": 7_595_176},
)
