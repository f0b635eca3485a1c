"""Weights of every model that torchvision or timm has, from there to us and back."""

import jax
import numpy as np
import pytest

import jaxvision as jv

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
    """Returns a state dict in which no tensor is constant, as it was before the first batch."""
    state = module.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.uniform_(-1, 1)
    return state


@pytest.mark.parametrize(("library", "name"), SHARED)
def test_weights_return_bit_equal(library, name, tmp_path):
    model = jv.create_model(name, **OPTIONS.get((library, name), {}))
    state, loaded = random_state(build(library, name)), []
    torch.save(state, tmp_path / "zip.pth")
    torch.save({"state_dict": state}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.save_file(state, tmp_path / "file.safetensors")
    for file in ["zip.pth", "legacy.pth", "file.safetensors"]:
        loaded.append(jv.load_weights(model, tmp_path / file))
        jax.tree.map(np.testing.assert_array_equal, loaded[0], loaded[-1])
    jv.save_weights(model, loaded[0], tmp_path / "ours.safetensors", layout=library)
    written = safetensors.load_file(tmp_path / "ours.safetensors")
    module = build(library, name)
    module.load_state_dict(written, strict=True)
    for key, value in module.state_dict().items():
        assert value.dtype == written[key].dtype
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    assert written.keys() == state.keys()
