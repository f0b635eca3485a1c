"""What is compared with a reference implementation: the cases of all families, and where their results are stored."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pytest

import jaxvision as jv
from tests.reference.case import Family
from tests.reference.families import FAMILIES
from tests.reference.stored import FOLDER

T = TypeVar("T")


def joined(parts: Iterable[Mapping[str, T]]) -> dict[str, T]:
    """Joins mappings that share no key."""
    parts = list(parts)
    whole = dict(chain.from_iterable(part.items() for part in parts))
    assert len(whole) == sum(map(len, parts)), "two families share a name"
    return whole


INFERENCE = joined(family.inference for family in FAMILIES)
SHORT = joined(family.short for family in FAMILIES)
WHOLE = {name: INFERENCE[name] for family in FAMILIES for name in family.whole}
TRAINING = {**SHORT, **WHOLE}
COUNTS = joined(family.counts for family in FAMILIES)
TINY = joined(family.tiny for family in FAMILIES)
NETWORKS = joined(family.networks for family in FAMILIES) | {name: partial(jv.create_model, name) for name in WHOLE}

PARTS_ARE_IN_OTHERS = (  # of `SHORT`, each of them of the same family
    *("alexnet_narrow", "alexnet_pool_first", "vgg_short", "inception_paper", "dense_cifar", "regnet_x"),
    *("efficientnet", "basic", "plain", "grouped", "se_basic", "se_bottleneck", "se_grouped"),
    *("deep_basic", "deep_bottleneck", "preact_basic", "preact_bottleneck"),
)


def family_of(name: str) -> Family:
    """Returns the family of a registered model."""
    return next(family for family in FAMILIES if name in family.inference)


def stands_for(name: str) -> tuple[str, str]:
    """Returns the networks of `SHORT` and of `TINY` that prove a registered model."""
    return family_of(name).stands_for(name)


def first_of_each_kind() -> list[str]:
    """Returns the first registered model of those that the same short network stands for, whose parts no other has."""
    kinds = {stands_for(name)[0]: name for name in reversed(INFERENCE)}
    return [name for kind, name in reversed(kinds.items()) if kind not in PARTS_ARE_IN_OTHERS]


def first_of_each_family() -> list[str]:
    """Returns the first registered model of each family."""
    return [next(iter(family.inference)) for family in FAMILIES]


def others_in_slow_set(at_once: Collection[str] | None = None) -> list:
    """Returns the registered models as parameters of a test: but for those named, the first of each kind, slow."""
    at_once = first_of_each_kind() if at_once is None else at_once
    return [name if name in at_once else pytest.param(name, marks=pytest.mark.slow) for name in INFERENCE]


def inference_file(name: str) -> Path:
    """Returns where the outputs of a registered model are stored."""
    return FOLDER / "inference" / f"{name}.npz"


def training_file(name: str) -> Path:
    """Returns where the outputs, gradients and optimizer steps of a network are stored."""
    return FOLDER / "training" / f"{name}.npz"
