"""Weights of every model that torchvision or timm has, from there to us and back.

Of each kind one is tried at once, the others in the slow set; those of regnet_y_128gf need 16 GB.
"""

from collections import OrderedDict

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.reference import cases

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.reference

BUILDERS = {
    "torchvision": {name: torchvision.models.get_model_builder(name) for name in torchvision.models.list_models()},
    "timm": dict.fromkeys(timm.list_models(), timm.create_model),
}
OPTIONS = {("timm", "inception_v3"): {"aux_logits": False}}  # of ours: timm has no auxiliary head by default
SHARED = [(library, name) for library, models in BUILDERS.items() for name in jv.list_models() if name in models]


def build(library, name):
    builder = BUILDERS[library][name]
    return builder() if library == "torchvision" else builder(name)


def random_state(module):
    """Returns a state dict in which no parameter and no statistic is as it was before the first batch."""
    learnt = {key for key, _ in module.named_parameters()}
    state = {key: value.clone() for key, value in module.state_dict().items()}
    for key, value in state.items():
        if key in learnt or "running_" in key:
            value.uniform_(-1, 1)
    return state


def our_model(library, name):
    return jv.create_model(name, **OPTIONS.get((library, name), {}))


@pytest.mark.parametrize(
    ("library", "name"),
    [pytest.param(*pair, marks=() if pair[1] in cases.first_of_each_kind() else pytest.mark.slow) for pair in SHARED],
)
def test_weights_return_bit_equal(library, name, tmp_path):
    model, module = our_model(library, name), build(library, name)
    state = random_state(module)
    safetensors.save_file(state, tmp_path / "theirs.safetensors")
    jv.save_weights(
        model, jv.load_weights(model, tmp_path / "theirs.safetensors"), tmp_path / "ours.safetensors", layout=library
    )
    written = safetensors.load_file(tmp_path / "ours.safetensors")
    assert written.keys() == state.keys()
    for key, value in written.items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    versioned = OrderedDict(written)
    versioned._metadata = module.state_dict()._metadata  # which a .safetensors file does not hold, and MNASNet asks for
    module.load_state_dict(versioned, strict=True)


@pytest.mark.parametrize(("library", "name"), [("torchvision", "resnet18"), ("timm", "seresnext26d_32x4d")])
def test_every_kind_of_file_holds_the_same(library, name, tmp_path):
    model, state = our_model(library, name), random_state(build(library, name))
    torch.save(state, tmp_path / "zip.pth")
    torch.save({"state_dict": state}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.save_file(state, tmp_path / "file.safetensors")
    first, *others = [jv.load_weights(model, tmp_path / file) for file in ["zip.pth", "legacy.pth", "file.safetensors"]]
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)
