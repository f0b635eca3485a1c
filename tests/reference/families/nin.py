"""Network in Network."""

from functools import partial

import jaxvision as jv
from jaxvision.cnn.nin import MlpConv, class_maps
from tests.reference.case import Case, Family, Tiny

CIFAR = Case("caffe", (3, 32, 32))
IMAGENET = Case("caffe", (3, 85, 102))  # each pooling has a last window beyond the edge, in one direction or both

NETWORKS = {name: partial(jv.create_model, name, dropout=0.0) for name in ("nin", "nin_imagenet")}
tiny = partial(class_maps, image_size=8, dropout=0.0)
CIFAR_LAYERS = (MlpConv(5, (8, 16), pool="max"), MlpConv(5, (16, 8), pool="average"), MlpConv(3, (8, 8)))
IMAGENET_LAYERS = (MlpConv(5, (8, 16), stride=2, padding=0, pool="max"), MlpConv(3, (8, 8)))

FAMILY = Family(
    inference={"nin": CIFAR, "nin_imagenet": IMAGENET},
    short={"nin": CIFAR, "nin_imagenet": IMAGENET},
    networks=NETWORKS,
    tiny={"nin": Tiny(partial(tiny, layers=CIFAR_LAYERS)), "nin_imagenet": Tiny(partial(tiny, layers=IMAGENET_LAYERS))},
    stands_for=lambda name: (name, name),
    counts={"nin": 966_986, "nin_imagenet": 7_595_176},
)
