"""VGG with and without batch normalisation."""

from functools import partial

import jaxvision as jv
from jaxvision.classifier import classifier
from jaxvision.cnn.vgg import VGG
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 64, 96), fields={"fc_dim": 256})  # a map of 2x3 pixels, averaged to 7x7

short = partial(classifier, VGG, depths=(1, 1, 2), widths=(8, 16, 32), fc_dim=32, dropout=0.0)
NETWORKS = {"vgg_short": short, "vgg_bn_short": partial(short, batch_norm=True)}
tiny = partial(classifier, VGG, depths=(1, 1), widths=(8, 16), batch_norm=True, fc_dim=16, dropout=0.0)

FAMILY = Family(
    title="VGG",
    inference=dict.fromkeys(jv.list_models("vgg*"), CASE),
    short=dict.fromkeys(NETWORKS, Case("torchvision", (3, 34, 28))),
    networks=NETWORKS,
    tiny={"vgg_bn_short": Tiny(tiny)},
    stands_for=lambda name: ("vgg_bn_short" if name.endswith("_bn") else "vgg_short", "vgg_bn_short"),
    counts={  # what torchvision publishes with its weights
        "vgg11": 132_863_336,
        "vgg13": 133_047_848,
        "vgg16": 138_357_544,
        "vgg19": 143_667_240,
        "vgg11_bn": 132_868_840,
        "vgg13_bn": 133_053_736,
        "vgg16_bn": 138_365_992,
        "vgg19_bn": 143_678_248,
    },
)
