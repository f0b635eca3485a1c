"""Densely connected networks."""

from functools import partial

import jaxvision as jv
from tests.reference.case import Case, Family, Tiny

IMAGENET = Case("torchvision", (3, 32, 32))
CIFAR = Case("torch", (3, 32, 32))

short = partial(jv.create_model, "densenet121", depths=(3, 2), growth_rate=8, stem_width=16)
tiny = {"depths": (2, 2), "growth_rate": 4, "stem_width": 8}

FAMILY = Family(
    title="Densely connected networks",
    inference={**{f"densenet{n}": IMAGENET for n in (121, 161, 169, 201)}, "densenet_bc100_12": CIFAR},
    short={"dense": IMAGENET, "dense_cifar": CIFAR},
    networks={"dense": short, "dense_cifar": partial(jv.create_model, "densenet_bc100_12", depths=(2, 2))},
    tiny={
        "dense": Tiny(partial(jv.create_model, "densenet121", **tiny)),
        "dense_cifar": Tiny(partial(jv.create_model, "densenet_bc100_12", **tiny)),
    },
    stands_for=lambda name: ("dense_cifar", "dense_cifar") if name == "densenet_bc100_12" else ("dense", "dense"),
    whole=("densenet121",),
    counts={
        "densenet121": 7_978_856,  # ImageNet: what torchvision publishes with its weights
        "densenet161": 28_681_000,
        "densenet169": 14_149_480,
        "densenet201": 20_013_928,
        "densenet_bc100_12": 769_162,  # the paper's 0.8M: https://github.com/liuzhuang13/DenseNet
    },
)
