"""SqueezeNet."""

from functools import partial

import jaxvision as jv
from jaxvision.classifier import ClassMaps, classifier
from jaxvision.cnn.squeezenet import FireWidths, SqueezeNet
from tests.reference.case import Case, Family, Tiny

CASE = Case("torchvision", (3, 42, 35))  # a pooling has a last window beyond the edge, in one direction or the other

network = partial(jv.create_model, "squeezenet1_1", dropout_rate=0.0)
tiny = partial(
    classifier,
    SqueezeNet,
    kind=ClassMaps,
    stages=((FireWidths(4, 8),),),
    stem_width=8,
    stem_kernel_size=3,
    dropout_rate=0.0,
)

FAMILY = Family(
    title="SqueezeNet",
    inference={"squeezenet1_0": CASE, "squeezenet1_1": CASE},
    short={"squeezenet": CASE},
    networks={"squeezenet": network},
    tiny={"squeezenet": Tiny(tiny)},
    stands_for=lambda name: ("squeezenet", "squeezenet"),
    counts={"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496},  # what torchvision publishes with its weights
)
